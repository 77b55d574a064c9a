"""`esper forge`."""
