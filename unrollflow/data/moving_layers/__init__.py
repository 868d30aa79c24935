"""The embedded synthetic data set: textured layers that move over each other."""
