"""Trials of `esper_core.grow`: what was tried, and how."""
