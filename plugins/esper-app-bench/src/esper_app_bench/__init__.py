"""``esper bench growth`` and ``esper compare``: many runs, paired by random seed, as one table and one page."""
