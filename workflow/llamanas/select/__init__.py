"""Choice from the measured sub-networks: the Pareto front, the named picks and their statistics."""
