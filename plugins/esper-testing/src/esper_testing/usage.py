"""A component in use: what it is handed, what comes of it, and whether two things that came are the same."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import isclose, isnan
from typing import Any

import attrs
from attrs import frozen

#: Two tensors or numbers differ if it is by more than this, relative to their size: below it is rounding.
TOLERANCE = 1e-4


@frozen(kw_only=True)
class Usage:
    """What uses a component that has been built.

    Attributes:
        use: uses it once, and returns what came of it: plain values, records and tensors.
        handed: what it is given, the same objects in every use.
        remembers: a use may depend on those before it, so that only two that were used alike can be compared.
        keeps: the component is there to keep what it is handed, or lives for one use only, as a compiler does.
    """

    use: Callable[[], Any]
    handed: Sequence[Any] = ()
    remembers: bool = False
    keeps: bool = False


def same(one: Any, other: Any) -> bool:
    """Say whether two results are the same but for rounding; NaN is the same as NaN."""
    if _is_tensor(one) or _is_tensor(other):
        return _is_tensor(one) and _is_tensor(other) and _same_tensors(one, other)
    if isinstance(one, float) and isinstance(other, float):
        return (isnan(one) and isnan(other)) or isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if _equal(one, other):
        return True
    one, other = _opened(one), _opened(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        # In order: that of a state dict is that of an optimizer's parameters.
        return [*one] == [*other] and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _equal(one: Any, other: Any) -> bool:
    """Whether records are equal, which their classes find out faster; tensors in them cannot say so."""
    if not attrs.has(type(one)):
        return False
    try:
        return bool(one == other)
    except RuntimeError:
        return False


def picture(value: Any) -> str:
    """Return a text that is the same for what is the same to the last bit, and for nothing else."""
    digest = sha256()
    _add(digest.update, value)
    return digest.hexdigest()


def difference(one: Any, other: Any, place: str = "") -> str:
    """Say where two results differ that are not the `same`: the first place, and what stands there."""
    opened = _opened(one), _opened(other)
    if all(isinstance(it, Mapping) for it in opened) and [*opened[0]] == [*opened[1]]:
        pairs = [(f".{key}", value, opened[1][key]) for key, value in opened[0].items()]
    elif all(isinstance(it, list | tuple) for it in opened) and len(opened[0]) == len(opened[1]):
        pairs = [(f"[{index}]", *both) for index, both in enumerate(zip(*opened, strict=True))]
    else:
        return f"{place.lstrip('.') or 'it'} is {_told(one)} and {_told(other)}"
    return next(difference(a, b, place + step) for step, a, b in pairs if not same(a, b))


def _told(value: Any) -> str:
    if _is_tensor(value):
        return f"a tensor {tuple(value.shape)} of {value.dtype} that sums up to {value.double().sum().item():.6g}"
    return f"{value!r:.100}"


def _is_tensor(value: Any) -> bool:
    # Not isinstance: gates, rewards and policies are looked at without torch.
    return hasattr(value, "untyped_storage")


def _same_tensors(one: Any, other: Any) -> bool:
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _opened(value: Any) -> Any:
    """A record as a mapping of its fields, with its class beside them."""
    if attrs.has(type(value)) and not isinstance(value, type):
        return {"class": type(value).__qualname__} | {a.name: getattr(value, a.name) for a in attrs.fields(type(value))}
    return value


def _add(put: Callable[[bytes], None], value: Any) -> None:
    value = _opened(value)
    if _is_tensor(value):
        put(f"{value.dtype}{tuple(value.shape)}".encode())
        # A view as bytes of what is contiguous: every dtype has it.
        put(value.detach().cpu().contiguous().view(-1).view(dtype=_bytes_of(value)).numpy().tobytes())
    elif isinstance(value, Mapping):
        put(b"{")
        for key, item in value.items():
            put(repr(key).encode("utf-8", "backslashreplace"))
            _add(put, item)
    elif isinstance(value, list | tuple):
        put(f"[{len(value)}".encode())
        for item in value:
            _add(put, item)
    elif isinstance(value, set | frozenset):
        put(repr(sorted(map(repr, value))).encode("utf-8", "backslashreplace"))
    else:
        put(repr(value).encode("utf-8", "backslashreplace"))


def _bytes_of(tensor: Any) -> Any:
    import torch

    return torch.uint8 if tensor.numel() else tensor.dtype
