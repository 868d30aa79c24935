"""Experiment 14: ablation of the classical solver."""
