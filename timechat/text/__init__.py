"""Text and token ids, shared by datasets and model."""
