"""Tamiyo: what a policy sees, what it may do, and the policies that know nothing."""
