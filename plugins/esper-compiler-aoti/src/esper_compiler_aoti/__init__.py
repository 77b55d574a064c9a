"""The compiler `aoti`."""
