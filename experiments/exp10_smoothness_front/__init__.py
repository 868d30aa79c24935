"""Experiment 08: levers of the quickstart's recipe."""
