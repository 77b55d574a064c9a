"""Esper's standard evaluators."""
