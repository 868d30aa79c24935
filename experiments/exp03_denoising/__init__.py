"""Experiment 03: denoising."""
