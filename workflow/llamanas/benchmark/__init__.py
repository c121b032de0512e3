"""Accuracy and speed of the exported files themselves."""
