"""Esper's rule-based policy: grows where the host underfits, early, and looks after every seed."""
