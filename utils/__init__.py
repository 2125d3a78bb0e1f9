"""Helpers without knowledge of the project: processes, precision, inference, metrics, pictures, files, logging."""
