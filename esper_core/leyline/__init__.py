"""Leyline: the contracts that every other floor speaks. Standard library and attrs only."""
