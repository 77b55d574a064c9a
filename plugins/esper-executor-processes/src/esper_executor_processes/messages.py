"""What processes say to each other, as bytes: Leyline records and plain data, tensors as their numbers."""

import io
import pickle
from pathlib import Path
from traceback import extract_tb
from typing import Any

from attrs import evolve

from esper_core.api import EsperError, HostReport


def dumps(value: Any) -> bytes:
    """Return anything that processes say to each other as bytes.

    Raises:
        Exception: if something in it cannot be pickled.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(value)
    return buffer.getvalue()


def loads(data: bytes) -> Any:
    """Return what `dumps` was given. The other side runs the same code as this one: it is not a stranger."""
    return pickle.loads(data)


def portable(error: Exception) -> Exception:
    """Return an exception that can be said to another process; one of a type that it may not know keeps its text."""
    known = isinstance(error, EsperError) or type(error).__module__ == "builtins"
    try:
        said: Exception = (
            pickle.loads(pickle.dumps(error)) if known else RuntimeError(f"{type(error).__name__}: {error}")
        )
    except Exception:  # what an exception does when it is written is somebody else's code
        said = RuntimeError(type(error).__name__)
    if place := _place(error):
        said.add_note(f"in a worker process, {place}")
    return said


def portable_report(report: HostReport) -> HostReport:
    """Return a report that can be said to another process: what the host raised becomes its reason and place."""
    if report.cause is None or isinstance(report.cause, EsperError):
        return report
    return evolve(report, cause=EsperError("E540", report.failure or "", where=_place(report.cause)))


def _place(error: Exception) -> str | None:
    frames = extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename)}, line {frames[-1].lineno}, in {frames[-1].name}" if frames else None


class _Pickler(pickle.Pickler):
    """Writes tensors as numbers. Left to themselves they would be passed as files, or as what `torch.save` writes."""

    def reducer_override(self, value: Any) -> Any:
        # Looked up, not imported: a process that has not imported torch has no tensors.
        import torch

        if isinstance(value, torch.Tensor):
            # Axes in the order in which they lie in memory, so that a memory format survives.
            order = sorted(range(value.ndim), key=value.stride, reverse=True)
            flat = value.detach().cpu().permute(order).contiguous()
            numbers: Any = flat.reshape(-1).view(torch.uint8).numpy() if flat.numel() else b""
            kind = str(value.dtype).removeprefix("torch.")
            return _tensor, (kind, tuple(flat.shape), tuple(order), str(value.device), pickle.PickleBuffer(numbers))
        return NotImplemented


def _tensor(kind: str, shape: tuple[int, ...], order: tuple[int, ...], device: str, numbers: Any) -> Any:
    import torch

    dtype = getattr(torch, kind)
    data = bytearray(numbers)
    flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    back = [order.index(axis) for axis in range(len(order))]
    return flat.reshape(shape).permute(back).to(device)
