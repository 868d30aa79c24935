"""What has to be measured on a GPU, in one command of at most ten minutes: `python -m benchmarks.gpu`."""
