"""`esper bus`: look at a bus, hand dead letters out again, and try what it promises."""
