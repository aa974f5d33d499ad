"""A classifier of shifts trained on spliced histories, and the weekly choice among detectors."""
