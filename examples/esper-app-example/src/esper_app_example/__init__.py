"""A command for Esper."""
