"""Checkpoint files: our own, those of the authors' release, and reading them without running code."""
