"""All benchmarks, by name, in the order of the table."""

from collections.abc import Mapping

from tools.bench.comparing import Benchmark
from tools.bench.whole_runs import whole_runs

BENCHMARKS: Mapping[str, Benchmark] = {
    "whole-runs": whole_runs,
}
