"""Experiment 06: parts of the released terms."""
