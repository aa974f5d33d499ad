"""Baseline detectors for comparison; `registry` names them."""
