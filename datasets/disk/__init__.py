"""What lies on disk: folder layouts, splits, label files."""
