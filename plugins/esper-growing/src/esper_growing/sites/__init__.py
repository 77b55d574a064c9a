"""Knowing what a site is: which submodules are meant, and what their axes are, found out by running a batch."""
