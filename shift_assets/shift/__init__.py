"""Interest shifts of users and segments: detection, alerts, learned models and baselines."""
