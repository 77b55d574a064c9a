"""Esper's gates: the checks in front of a seed's stage transitions, in three sets."""
