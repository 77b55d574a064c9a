"""Whether FlexAttention can train here, found out without importing torch."""

import os
import sys

#: Device files of accelerators on Linux: NVIDIA, AMD, and either of them inside WSL.
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def unavailable() -> str | None:
    """Return why FlexAttention cannot train on this machine, or None if nothing speaks against it.

    PyTorch's FlexAttention has no backward pass on the CPU or on MPS.
    """
    if sys.platform == "darwin":
        return "FlexAttention cannot train on macOS: neither the CPU nor MPS has its backward pass"
    if sys.platform == "linux" and not any(map(os.path.exists, ACCELERATORS)):
        return "FlexAttention cannot train on the CPU, and this machine shows no accelerator"
    if _torch_version().endswith("+cpu"):
        return "FlexAttention cannot train on the CPU, and the installed torch is a CPU build"
    return None


def _torch_version() -> str:
    # Imported here: it costs as much as everything else that listing this plugin needs.
    from importlib.metadata import version

    return version("torch")
