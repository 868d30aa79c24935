"""Experiment 01: the shape of the penalty."""
