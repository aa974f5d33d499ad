"""Offline evaluation protocols: temporal split, leave-one-out, after a shift, splices, simulated shifts."""
