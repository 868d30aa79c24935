"""Data sets: one module for each benchmark layout, and frames, mixtures and labelled frames."""
