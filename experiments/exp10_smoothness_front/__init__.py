"""Experiment 10: fronts of the smoothness terms."""
