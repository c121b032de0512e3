"""The data of an experiment: lm-eval tasks as items with tokens, and examples for the fine-tune."""
