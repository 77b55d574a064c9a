"""Oona: buses that carry signed messages between processes, and what publishes to them and subscribes to them."""
