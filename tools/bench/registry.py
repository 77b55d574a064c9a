"""All benchmarks, by name, in the order of the table."""

from collections.abc import Mapping

from bench.comparing import Benchmark
from bench.whole_runs import whole_runs

BENCHMARKS: Mapping[str, Benchmark] = {
    "whole-runs": whole_runs,
}
