"""What the method does, measured: one module an experiment, run by `make reproduce EXP=NN`."""
