"""Simic: the loop over epochs, and the reward."""
