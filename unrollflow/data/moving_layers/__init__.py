"""Embedded synthetic data set of moving textured layers."""
