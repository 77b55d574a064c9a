"""Tamiyo."""
