"""Figures that are still on the device: all of them come over in one transfer."""

import torch
from torch import Tensor


class Pending:
    """Collects tensors by name, and brings them over together: the device is waited for once."""

    def __init__(self) -> None:
        self._parts: dict[str, Tensor] = {}
        self._found: dict[str, list[float]] = {}

    def add(self, name: str, tensor: Tensor) -> None:
        """Have a tensor, of any shape, come over with the others."""
        # MPS has no doubles.
        wide = torch.float32 if tensor.device.type == "mps" else torch.float64
        self._parts[name] = tensor.detach().to(wide).reshape(-1)

    def fetch(self) -> None:
        """Bring everything over."""
        parts = [*self._parts.values()]
        device = parts[0].device
        numbers = torch.cat([part.to(device) for part in parts]).tolist()
        start = 0
        for name, part in self._parts.items():
            self._found[name] = numbers[start : start + part.numel()]
            start += part.numel()

    def __contains__(self, name: str) -> bool:
        return name in self._parts

    def all(self, name: str) -> list[float]:
        """Return the numbers of a tensor that came over."""
        return self._found[name]

    def one(self, name: str) -> float:
        """Return the only number of a tensor that came over."""
        (number,) = self._found[name]
        return number
