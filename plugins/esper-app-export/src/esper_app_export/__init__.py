"""`esper export`."""
