"""What growing costs, in ratios: `python tools/run_bench.py [--quick] [--only NAMES]` prints them, writes bench.json.

Both sides of a ratio are timed in turn in one process, on one thread and with the same inputs, so that a busy moment of
the machine falls on both. A figure is the median of the rounds' ratios of process CPU time, with the quartiles; the
same in wall time stands beside it.
"""
