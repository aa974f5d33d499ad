"""Simple detectors for comparison; `registry` names them."""
