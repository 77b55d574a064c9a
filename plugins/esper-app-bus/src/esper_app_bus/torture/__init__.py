"""A bus under torture: processes that publish, handle and die, and a judge of what they have noted."""
