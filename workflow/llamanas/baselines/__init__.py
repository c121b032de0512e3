"""Published pruning methods, each of which makes one network of a wanted size from the fine-tuned full network."""
