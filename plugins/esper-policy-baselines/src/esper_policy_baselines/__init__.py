"""The policies that know nothing: one never acts, the other acts at random."""
