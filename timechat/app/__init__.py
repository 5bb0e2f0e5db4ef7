"""What people use: load a model, and ask it about a video."""
