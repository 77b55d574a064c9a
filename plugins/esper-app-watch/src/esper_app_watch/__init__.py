"""`esper watch`."""
