"""What `benchmarks/gpu.py` measures: TimeChat at its published size, or a tiny one, with random weights."""
