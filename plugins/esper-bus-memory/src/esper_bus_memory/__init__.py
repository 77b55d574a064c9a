"""A bus for the threads of one process."""
