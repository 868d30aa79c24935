"""Unsupervised optical flow with Cost Unrolling."""
