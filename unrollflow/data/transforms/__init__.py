"""Transforms of samples: geometry, size, appearance, superpixels and motion boundaries."""
