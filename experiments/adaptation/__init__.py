"""Adaptation of the shipped weights to single scenes."""
