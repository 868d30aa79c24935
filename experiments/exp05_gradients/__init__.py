"""Experiment 05: gradients of the smoothness terms."""
