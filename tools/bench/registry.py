"""All benchmarks, by name, in the order of the table."""

from collections.abc import Mapping

from bench.buses import buses
from bench.comparing import Benchmark
from bench.costs import checkpoints, limits, start
from bench.counterfactuals import counterfactuals
from bench.hosts import hosts
from bench.scaling import scaling
from bench.steps import steps
from bench.whole_runs import whole_runs

BENCHMARKS: Mapping[str, Benchmark] = {
    "steps": steps,
    "counterfactuals": counterfactuals,
    "whole-runs": whole_runs,
    "start": start,
    "limits": limits,
    "checkpoints": checkpoints,
    "scaling": scaling,
    "hosts": hosts,
    "buses": buses,
}
