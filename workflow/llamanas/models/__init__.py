"""Base models: where they come from, which families are supported, and the decoder that runs them."""
