"""Command lines: flags in, options out."""
