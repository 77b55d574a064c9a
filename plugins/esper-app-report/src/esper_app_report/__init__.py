"""`esper show` and `esper runs`."""
