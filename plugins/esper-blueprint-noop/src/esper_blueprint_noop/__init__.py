"""The control blueprint of Esper: a seed that adds nothing."""
