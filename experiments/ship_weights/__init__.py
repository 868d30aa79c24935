"""Weights that are shipped with the package, their cards, and the errors of baselines beside them."""
