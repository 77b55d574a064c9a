"""Tasks on tables, with their data."""
