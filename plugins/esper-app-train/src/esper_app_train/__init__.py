"""Policies that learn: trained, judged and explained on the command line."""
