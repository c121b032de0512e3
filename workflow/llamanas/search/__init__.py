"""Search for the Pareto front of a task: which sub-networks to measure, and how they are measured."""
