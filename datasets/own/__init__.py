"""Data sets of the user's own: ``custom:PATH``."""
