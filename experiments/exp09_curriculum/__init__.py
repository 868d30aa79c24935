"""Experiment 09: the order of easy and hard motions."""
