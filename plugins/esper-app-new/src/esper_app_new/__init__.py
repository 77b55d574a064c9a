"""`esper plugins new`."""
