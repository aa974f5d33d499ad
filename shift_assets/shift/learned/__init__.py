"""A shift classifier trained on spliced histories, and the weekly choice among detectors."""
