"""How fast TimeChat is beside an eager reference and beside what the machine can do; `python -m benchmarks.speed`."""
