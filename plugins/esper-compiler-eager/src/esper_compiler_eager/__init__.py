"""The compiler `eager`."""
