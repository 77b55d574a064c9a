"""Policies that learn nothing: one never acts, one acts at random, one by the clock, and one repeats a run."""
