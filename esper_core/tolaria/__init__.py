"""Tolaria."""
