"""Words and ids, shared by data and model."""
