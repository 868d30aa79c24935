"""Experiments with the method: one package per experiment, run by `make reproduce EXP=NN`."""
