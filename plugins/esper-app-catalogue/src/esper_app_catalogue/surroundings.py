"""Where and when something was measured or probed: versions, machine, options."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from esper_core.api import plain
from esper_karn.api import CatalogueEntry, Circumstances, now, version_of


def circumstances(entry: CatalogueEntry, options: Any, *, threads: int) -> Circumstances:
    """Describe what a benchmark or a safety sheet holds for.

    Args:
        entry: the blueprint's.
        options: its options, an instance of its options class, None if it has none.
        threads: with which torch computes.
    """
    return Circumstances(
        blueprint=entry.id,
        version=version_of(entry.blueprint.origin),
        options={} if options is None else plain(options),
        at=now(),
        versions={
            "esper-core": version("esper-core"),
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        machine={
            "name": platform.node(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": threads,
            # What else the machine had to do decides about latencies.
            "load": round(os.getloadavg()[0], 2),
        },
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
