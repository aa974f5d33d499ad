"""The default detector: evidence per active day, the state that carries it, and its calibration."""
