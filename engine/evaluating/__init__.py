"""Evaluation: scores of labelled domains, predictions for folders of images."""
