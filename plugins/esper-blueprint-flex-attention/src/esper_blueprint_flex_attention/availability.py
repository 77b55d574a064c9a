"""Whether FlexAttention can train here, found out without importing torch."""

import sys
from importlib.metadata import version
from pathlib import Path

#: Device files of accelerators on Linux: NVIDIA, AMD, and either of them inside WSL.
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def unavailable() -> str | None:
    """Return why FlexAttention cannot train on this machine, or None if nothing speaks against it.

    PyTorch's FlexAttention has no backward pass on the CPU or on MPS.
    """
    if version("torch").endswith("+cpu"):
        return "FlexAttention cannot train on the CPU, and the installed torch is a CPU build"
    if sys.platform == "darwin":
        return "FlexAttention cannot train on macOS: neither the CPU nor MPS has its backward pass"
    if sys.platform == "linux" and not any(Path(device).exists() for device in ACCELERATORS):
        return "FlexAttention cannot train on the CPU, and this machine shows no accelerator"
    return None
