"""Locks: which plugins, to the byte, a run is bound to."""
