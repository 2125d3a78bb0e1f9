"""``python -m datasets.prepare``: masks of IDD, train ids, packed copies."""
