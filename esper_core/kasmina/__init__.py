"""Kasmina."""
