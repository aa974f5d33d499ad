"""Asset checks, made from the expectations of `quality`."""
