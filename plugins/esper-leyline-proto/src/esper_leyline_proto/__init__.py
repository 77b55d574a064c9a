"""Esper's records on the wire: protobuf messages, and one converter between the two."""
