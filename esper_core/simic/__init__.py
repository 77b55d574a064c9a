"""Simic."""
