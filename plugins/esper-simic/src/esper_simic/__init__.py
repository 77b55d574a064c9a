"""Offline Simic: learning from the reports of runs that are over, and the versions of policies that come of it."""
