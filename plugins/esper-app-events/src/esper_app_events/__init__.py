"""`esper events`."""
