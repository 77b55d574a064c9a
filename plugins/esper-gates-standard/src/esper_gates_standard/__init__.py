"""Esper's gates: the checks before a seed's stage transitions, in three sets."""
