"""`esper store`."""
