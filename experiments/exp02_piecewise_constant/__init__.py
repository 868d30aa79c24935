"""Experiment 02: piecewise constant signals."""
