"""A checkpoint that is not damaged but untrue: every place of it changed, by its type, and signed again."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors.torch import load, save
from torch import Tensor

from esper_app.execution.checkpoint import _digest

Header = dict[str, Any]
Change = Callable[[Header, dict[str, Tensor]], None]


@frozen
class Untruth:
    """One change to one place.

    Attributes:
        what: for people.
        change: makes it, in a header and its tensors.
    """

    what: str
    change: Change


def read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Return the header and the tensors of a checkpoint."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["esper"]), load(data)


def write(path: Path, header: Header, tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint with the digest of what it holds, as its author would."""
    header = {key: value for key, value in header.items() if key != "digest"}
    path.write_bytes(save(tensors, metadata={"esper": json.dumps({**header, "digest": _digest(header, tensors)})}))


def untruths(header: Header, tensors: dict[str, Tensor]) -> list[Untruth]:
    """Return every change to every leaf and every container of a header, and to every tensor."""
    places = [path for path in _places(header) if path != ("digest",)]
    return [
        *(untruth for path in places for untruth in _of_place(header, path)),
        *(untruth for name in sorted(tensors) for untruth in _of_tensor(name, tensors[name])),
    ]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from _places(value[key], (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _of_place(header: Header, path: tuple[Any, ...]) -> Iterator[Untruth]:
    where, before = "/".join(map(str, path)), _at(header, path)

    def put(value: Any) -> Change:
        def change(header: Header, _: dict[str, Tensor]) -> None:
            _at(header, path[:-1])[path[-1]] = copy.deepcopy(value)

        return change

    def remove(header: Header, _: dict[str, Tensor]) -> None:
        del _at(header, path[:-1])[path[-1]]

    def repeat(header: Header, _: dict[str, Tensor]) -> None:
        holder = _at(header, path[:-1])
        if isinstance(holder, list):
            holder.insert(path[-1], copy.deepcopy(before))
        else:
            holder[f"{path[-1]}-again"] = copy.deepcopy(before)

    yield Untruth(f"{where} removed", remove)
    yield Untruth(f"{where} twice", repeat)
    for value in _others(before):
        yield Untruth(f"{where} = {str(value)[:40]!r}", put(value))


def _others(value: Any) -> list[Any]:
    """Values in the place of another one: of another type, sign or size."""
    if value is None:
        return [0, -1.5, "x", [], {}, True]
    if isinstance(value, bool):
        return [not value, int(value), "true", None]
    if isinstance(value, int):
        return [-value - 1, value + 1, 10**9, 2**62, value + 0.5, str(value), True, None, [value]]
    if isinstance(value, float):
        return [float("nan"), float("inf"), -abs(value) - 1.0, 1e308, 3, str(value), None]
    if isinstance(value, str):
        return ["", "none", "\x1b[2J", 0, None, [value], value + "-0"]
    if isinstance(value, list):
        return [[], value[:-1], value + value, value[::-1], {}, None, "x", 0]
    return [{}, [], None, "x", 0, {"": value}]


def _of_tensor(name: str, tensor: Tensor) -> Iterator[Untruth]:
    def put(other: Tensor) -> Change:
        return lambda _, tensors: tensors.update({name: other.contiguous()})

    yield Untruth(f"{name} removed", lambda _, tensors: tensors.__delitem__(name))
    yield Untruth(f"{name} renamed", lambda _, tensors: tensors.update({f"{name}x": tensors.pop(name)}))
    for dtype in (torch.float64, torch.float16, torch.int64, torch.bool, torch.uint8):
        yield Untruth(f"{name} as {dtype}", put(tensor.to(dtype)))
    for what, other in (
        ("flat", tensor.reshape(-1)),
        ("with one axis more", tensor[None]),
        ("empty", torch.zeros(0, dtype=tensor.dtype)),
        ("longer", torch.cat([tensor.reshape(-1)] * 2)),
        ("negative", -tensor.abs() - 1 if tensor.dtype != torch.uint8 else 255 - tensor),
        ("huge", torch.full_like(tensor, 100 if tensor.dtype == torch.uint8 else 1e38)),
        ("NaN", torch.full(tensor.shape, float("nan"))),
        ("complex", torch.zeros(tensor.shape, dtype=torch.complex64)),
    ):
        yield Untruth(f"{name} {what}", put(other))
