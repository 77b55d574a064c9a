"""`esper up`, `esper down`, `esper status` and `esper services`."""
