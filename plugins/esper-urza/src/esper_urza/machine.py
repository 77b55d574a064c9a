"""What of a machine decides whether an artifact runs on it."""

import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attrs import frozen

#: Extensions that a compiler may use for the CPU at hand (``-march=native``); code does not depend on other flags.
_EXTENSION = re.compile(
    r"(sse|ssse|avx|amx|bmi|fma|vaes|vpclmul|aes|pclmul|gfni|sha|f16c|abm|lzcnt|popcnt|movbe|adx|rdrand|rdseed)\w*"
)


@frozen(kw_only=True)
class Machine:
    """A machine.

    Attributes:
        cpu: the features of its CPU that compiled code may use, its architecture among them.
        torch: the version of torch; "" where it is not installed.
    """

    cpu: frozenset[str]
    torch: str


@cache
def this_machine() -> Machine:
    """Return this machine. Torch is not imported."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    return Machine(cpu=_features(), torch=torch)


def _features() -> frozenset[str]:
    architecture = platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        # Where the features are not known, compiled code is for this very machine.
        return frozenset({architecture, f"host:{platform.node()}"})
    return frozenset({architecture}) | features_of(text)


def features_of(cpuinfo: str) -> frozenset[str]:
    """Return the features that all CPUs in a text like /proc/cpuinfo have."""
    x86 = [line.split(":", 1)[1].split() for line in cpuinfo.splitlines() if re.match(r"flags\s*:", line)]
    arm = [line.split(":", 1)[1].split() for line in cpuinfo.splitlines() if re.match(r"Features\s*:", line)]
    found = [{it for it in flags if _EXTENSION.fullmatch(it)} for flags in x86] + [set(flags) for flags in arm]
    return frozenset(set.intersection(*found)) if found else frozenset()
