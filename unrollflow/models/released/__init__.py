"""Weights of other projects, imported by name."""
