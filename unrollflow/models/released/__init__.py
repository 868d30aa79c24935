"""Import of weights of other projects by name."""
