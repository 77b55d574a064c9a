"""A bus for the processes of one machine, in one SQLite file."""
