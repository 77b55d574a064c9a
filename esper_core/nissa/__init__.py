"""Nissa."""
