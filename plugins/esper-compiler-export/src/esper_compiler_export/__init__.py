"""The compiler `export`."""
