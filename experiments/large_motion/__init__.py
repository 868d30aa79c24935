"""Large motion: pyramid levels at test time."""
