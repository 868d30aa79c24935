"""Experiment 12: training on real footage."""
