"""Checkpoints of this project and of the authors' release: write, read safely, recognise, translate."""

NUMBERED = "iteration_" + 7 * "[0-9]" + ".pth"  # a glob of the checkpoints that a run numbers and deletes itself
