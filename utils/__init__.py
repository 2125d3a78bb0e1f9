"""Tensors and files only: metrics, checkpoints, logs, inference."""
