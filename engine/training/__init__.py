"""Training: the run, its loop, and what may interrupt it."""
