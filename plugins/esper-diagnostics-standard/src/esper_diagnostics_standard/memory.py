"""The diagnostic `memory`: what a growing host's device and process hold."""

import sys
from pathlib import Path

import torch
from attrs import field, frozen, validators

from esper_core.api import NetworkView

_STATUS = Path("/proc/self/status")


@frozen(kw_only=True)
class MemoryConfig:
    """Options of `memory`.

    Attributes:
        every: look after each epoch whose number, from 0, is a multiple of this.
    """

    every: int = field(default=1, validator=[validators.instance_of(int), validators.ge(1)])


@frozen(kw_only=True)
class MemoryUsage:
    """What is held after an epoch, in bytes. What the device or the system does not say is None.

    Attributes:
        device: where the network is.
        allocated: by tensors of this process on a CUDA device, those of other hosts included.
        reserved: by torch's allocator there, which keeps what was freed.
        peak: the largest `allocated` so far.
        peak_reserved: the largest `reserved` so far.
        free, total: of the whole device, other processes included.
        resident: of the process, in the machine's memory.
        peak_resident: the largest `resident` so far.
    """

    device: str
    allocated: int | None = None
    reserved: int | None = None
    peak: int | None = None
    peak_reserved: int | None = None
    free: int | None = None
    total: int | None = None
    resident: int | None = None
    peak_resident: int | None = None


class MemoryDiagnostic:
    """Looks at the memory of the process in which a host grows, which may be a worker, and of its CUDA device.

    Args:
        config: how often.
    """

    def __init__(self, config: MemoryConfig) -> None:
        self._config = config

    def examine(self, view: NetworkView) -> MemoryUsage | None:
        """Return what is held; None in epochs in which it does not look. The device is not waited for."""
        if view.epoch % self._config.every:
            return None
        device = view.targets.device
        resident, peak = process_memory()
        if device.type != "cuda":
            return MemoryUsage(device=str(device), resident=resident, peak_resident=peak)
        free, total = torch.cuda.mem_get_info(device)
        return MemoryUsage(
            device=str(device),
            allocated=torch.cuda.memory_allocated(device),
            reserved=torch.cuda.memory_reserved(device),
            peak=torch.cuda.max_memory_allocated(device),
            peak_reserved=torch.cuda.max_memory_reserved(device),
            free=free,
            total=total,
            resident=resident,
            peak_resident=peak,
        )


def process_memory() -> tuple[int | None, int | None]:
    """Return the bytes that this process has in memory, and the most that it has had; None where nothing says so."""
    try:
        # Not getrusage: its peak is inherited from the process that started this one.
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        resident, peak = _bytes(lines["VmRSS"]), _bytes(lines["VmHWM"])
    except (OSError, LookupError, ValueError):
        return None, _peak_elsewhere()
    return resident, max(resident, peak)


def _bytes(text: str) -> int:
    number, unit = text.split()
    if unit != "kB":
        raise ValueError(f"{unit} is an unknown unit")
    return 1024 * int(number)


def _peak_elsewhere() -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
