"""What people run beside ``train.py`` and ``eval.py``."""
