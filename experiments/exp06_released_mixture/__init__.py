"""Experiment 06: the released terms taken apart."""
