"""Confidence of the shipped weights: calibration, errors by confidence, sparsification."""
