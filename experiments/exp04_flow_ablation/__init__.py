"""Experiment 04: smoothness terms in unsupervised flow."""
