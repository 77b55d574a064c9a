"""`esper simic` and `esper policy`: offline learning, and the versions of policies."""
