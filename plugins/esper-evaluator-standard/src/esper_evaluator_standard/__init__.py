"""Esper's standard evaluator."""
