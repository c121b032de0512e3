"""The super-network: its search space, what its parts matter, and its training."""
