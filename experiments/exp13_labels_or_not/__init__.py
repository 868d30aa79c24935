"""Experiment 13: training with and without labels."""
