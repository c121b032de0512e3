"""Exported networks with fewer bits per weight."""
