"""What is known of the device that a host is trained on."""

import os

from esper_leyline_proto.state import HardwareContext


def hardware(device: str) -> HardwareContext:
    """Return how a device is now: its memory, where that can be asked for without stopping it.

    Args:
        device: as a configuration names it, such as ``cpu`` or ``cuda:1``.
    """
    kind, _, number = device.partition(":")
    total = available = None
    if kind == "cpu":
        page = os.sysconf("SC_PAGE_SIZE")
        total, available = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    elif kind == "cuda":
        import torch

        available, total = torch.cuda.mem_get_info(device)
    return HardwareContext(
        device_type=kind, device_id=number or None, total_memory_bytes=total, available_memory_bytes=available
    )
