"""Experiment 11: what lowers the error of occluded pixels."""
