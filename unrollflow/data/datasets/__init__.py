"""Data sets: one module per benchmark layout, and modules for frames, mixtures and labelled frames."""
