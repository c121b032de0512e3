"""The one fine-tuning in which the full network and its sub-networks are trained together."""
