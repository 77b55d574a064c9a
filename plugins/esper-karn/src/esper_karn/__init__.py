"""Karn: what is known of every blueprint, and what of it a run may use."""
