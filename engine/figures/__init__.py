"""Figures: t-SNE of features, maps of memory reads."""
