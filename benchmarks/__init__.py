"""Speed and memory; see `python -m benchmarks.run --help`."""
