"""Tuned hyperparameters: the values that were found, and the space in which they were searched."""
