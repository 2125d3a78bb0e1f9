"""Checkpoints of this project and of the authors' release: write, read safely, recognise, translate."""
