"""Run the benchmarks and report."""

import argparse
import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import asdict
from bench.comparing import Effort, Row
from bench.registry import BENCHMARKS


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="just see that everything runs; the figures mean nothing")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"of {', '.join(BENCHMARKS)}; joined by commas")
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    chosen = [name for name in arguments.only.split(",") if name] or [*BENCHMARKS]
    if unknown := {*chosen} - {*BENCHMARKS}:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    print("| what | against | ratio (quartiles) | wall | target |\n|---|---|---|---|---|")
    rows = []
    for name in chosen:
        for row in BENCHMARKS[name](Effort(quick=arguments.quick)):
            rows.append(row)
            print(line(row), flush=True)
    report = {"quick": arguments.quick, "machine": machine(), "rows": [asdict(row) for row in rows]}
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{missed(rows)}; written to {arguments.output}")


def line(row: Row) -> str:
    """Return a row of the table, in Markdown."""
    figure = f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})"
    wall = "" if row.wall is None else f"{row.wall:.2f}"
    target = "" if row.target is None else f"{row.target:.2f}"
    return f"| {row.name} | {row.against} | {figure} | {wall} | {target} |"


def missed(rows: Iterable[Row]) -> str:
    """Say how many targets were met."""
    aimed: Sequence[Row] = [row for row in rows if row.target is not None]
    met = sum(row.ratio <= row.target for row in aimed if row.target is not None)
    return f"{met} of {len(aimed)} targets met"


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": load,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
