"""The control blueprint for Esper: a seed that adds nothing."""
