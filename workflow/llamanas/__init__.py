"""LLaMA-NAS: neural architecture search for LLaMA-family models over one weight-sharing super-network."""

__version__ = "0.1.0"
