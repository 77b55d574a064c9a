"""A bus over NATS."""
