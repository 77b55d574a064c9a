"""Urza: artifacts that compilers have made, kept by what they were made from."""
