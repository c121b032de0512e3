"""Sub-networks as files of their own: Hugging Face folders and ONNX graphs."""
