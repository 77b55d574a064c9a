"""What share of a training the policy itself takes: `ppo` deciding, and learning between two rounds.

A training of real networks, one after the other in one process and one thread; shown is CPU time. Twins are left out,
and so is what an epoch does not do: start, files, the end.

    python tests/benchmarks/policy_share.py [TASK] [--rounds 3] [--hosts 4] [--set KEY=VALUE ...]
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import wraps
from time import process_time
from typing import Any

import torch
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_core.tolaria.host import GrowingHost
from esper_policy_ppo.policy import PPO

SECONDS: dict[str, float] = {}


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Add up the CPU time that calls of a function take."""

    @wraps(function)
    def measured(*args: Any, **kwargs: Any) -> Any:
        began = process_time()
        try:
            return function(*args, **kwargs)
        finally:
            SECONDS[name] = SECONDS.get(name, 0.0) + process_time() - began

    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", default="digits")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for owner, name in ((PPO, "decide"), (PPO, "learn"), (GrowingHost, "epoch")):
        setattr(owner, name, timed(name, getattr(owner, name)))
    with tempfile.TemporaryDirectory() as runs:
        own = [f"runs={runs}", "twin=none", "checkpoints.every=0", "executor.name=serial", *given.settings]
        counts = ["--rounds", str(given.rounds), "--hosts", str(given.hosts)]
        result = CliRunner().invoke(
            cli, ["train", given.task, *counts, *(part for it in own for part in ("--set", it))]
        )
    if result.exit_code:
        raise SystemExit(result.output)
    whole = sum(SECONDS.values())
    for name, seconds in SECONDS.items():
        print(f"{name:<12} {seconds:8.2f} s {100 * seconds / whole:6.2f} %")


if __name__ == "__main__":
    main()
