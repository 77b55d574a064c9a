"""What an epoch's boundary takes beside training: `python tests/benchmarks/decision_latency.py [TASK] [--epochs 60]`.

Runs of real networks in one process and one thread, with everything that judges: the host's governor, the run's own
evaluators, quotas. For each epoch the milliseconds on the clock of

- deciding: what the policy sees, what it thinks and decides, and its commands reviewed and carried out;
- risk: the governor's votes and the run's;
- both, given the evidence: 18 ms of them are the aim, at the 95th percentile;
- evidence: measuring the network and its seeds, which is what both are made of.

Shown are the median, the 95th percentile and the largest, the 95th percentile of the processor's time, which a busy
machine does not lengthen as much, and the load. The first epoch, in which modules are imported and caches are filled,
is left out and shown apart.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import wraps
from statistics import quantiles
from time import perf_counter, thread_time
from typing import Any

from esper_app.api import execute, load_plugins, resolve_run
from esper_app.execution.risk.guard import Risk
from esper_core.simic.rollout import Rollout
from esper_core.tolaria.governor import Governor
from esper_core.tolaria.grower import Grower

DECIDING, RISK, BOTH, EVIDENCE = "deciding", "risk", "both, given evidence", "evidence"

SETTINGS: dict[str, Any] = {
    "twin": "none",
    "sinks.names": ["jsonl"],
    "checkpoints.every": 0,
    "executor.name": "serial",
    "governor.evaluators": ["divergence", "lobotomy", "not-finite", "stability", "resources", "policy-health"],
    "governor.germinations": 100,
    "governor.resources.growth_ratio": 100.0,
    "governor.policy-health.most_value_error": 1e6,
}


#: On the clock, and of the processor.
Seconds = tuple[float, float]


class Clock:
    """Seconds of each epoch by what they were for. Calls within others that are timed count once."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Seconds]] = []
        self._inside = False

    def timed(self, name: str, function: Callable[..., Any], *, begins: bool = False) -> Callable[..., Any]:
        """Add up what calls of a function take; `begins`: each call is the first of an epoch."""

        @wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            if begins:
                self.epochs.append(dict.fromkeys((DECIDING, RISK, EVIDENCE), (0.0, 0.0)))
            if self._inside or not self.epochs:
                return function(*args, **kwargs)
            self._inside, began, worked = True, perf_counter(), thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                passed = (perf_counter() - began, thread_time() - worked)
                self.epochs[-1][name] = _sum(self.epochs[-1][name], passed)
                self._inside = False

        return measured


def _sum(one: Seconds, other: Seconds) -> Seconds:
    return one[0] + other[0], one[1] + other[1]


def measured(task: str, policy: str, epochs: int) -> list[dict[str, Seconds]]:
    """Run once, and return the seconds of each epoch."""
    clock = Clock()
    owners: tuple[tuple[type, str, str], ...] = (
        (Rollout, "decide", DECIDING),
        (Risk, "observe", RISK),
        (Governor, "observe", RISK),
        (Grower, "collect", EVIDENCE),
    )
    before = [getattr(owner, name) for owner, name, _ in owners]
    try:
        for owner, name, what in owners:
            setattr(owner, name, clock.timed(what, getattr(owner, name), begins=what == DECIDING))
        with tempfile.TemporaryDirectory() as runs:
            own = {"runs": runs, "epochs": epochs, "policy.name": policy}
            if policy == "ppo":
                own["rewards.preset"] = "shaped"
            plugins = load_plugins()
            execute(resolve_run(task, plugins, settings=SETTINGS | own), plugins)
    finally:
        for (owner, name, _), function in zip(owners, before, strict=True):
            setattr(owner, name, function)
    return [{**epoch, BOTH: _sum(epoch[DECIDING], epoch[RISK])} for epoch in clock.epochs]


def rows(policy: str, epochs: list[dict[str, Seconds]]) -> list[str]:
    """Return the rows of one policy, in milliseconds."""
    found = []
    for name in (DECIDING, RISK, BOTH, EVIDENCE):
        passed, worked = (sorted(1000.0 * it[name][which] for it in epochs[1:]) for which in (0, 1))
        cuts, of_processor = (quantiles(it, n=20, method="inclusive") for it in (passed, worked))
        shown = (cuts[9], cuts[18], passed[-1], of_processor[18], 1000.0 * epochs[0][name][0])
        found.append(f"| `{policy}` | {name} | {' | '.join(f'{it:.2f}' for it in shown)} |")
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", default="digits")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--policies", nargs="+", default=["heuristic", "ppo"])
    given = parser.parse_args()
    titles = (
        "policy",
        "what",
        "median, ms",
        "95 %, ms",
        "largest, ms",
        "95 % of the processor's, ms",
        "first epoch, ms",
    )
    print(f"| {' | '.join(titles)} |\n|---|---|{'---:|' * 5}")
    for policy in given.policies:
        print("\n".join(rows(policy, measured(given.task, policy, given.epochs))))
    print(f"\n{given.task}, {given.epochs} epochs; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
