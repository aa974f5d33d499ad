"""The default detector: evidence per active day, the state it recurses on, its calibration."""
