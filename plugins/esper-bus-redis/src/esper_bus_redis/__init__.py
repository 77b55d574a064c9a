"""A bus over Redis or Valkey."""
