"""Experiment 07: direct minimisation of the objective."""
