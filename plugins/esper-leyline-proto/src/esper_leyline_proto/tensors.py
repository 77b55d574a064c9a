"""Tensors as messages, in safetensors' words for their types. torch is imported where there is a tensor, not before."""

import math
import sys
from typing import Any

from esper_leyline_proto.scalars import RefusedError
from esper_leyline_proto.v1.value_pb2 import Tensor

#: Names of safetensors, and of torch, with the bytes of one number.
_TYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "I16": ("int16", 2),
    "I32": ("int32", 4),
    "I64": ("int64", 8),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
}
_NAMES = {f"torch.{name}": word for word, (name, _) in _TYPES.items()}


def is_tensor(value: Any) -> bool:
    """Say whether this is a tensor of torch, without importing it: nothing is one if nobody has imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def write_tensor(tensor: Any) -> Tensor:
    """Return a tensor, of any device, as a message. Its gradient is left behind."""
    import torch

    if (dtype := _NAMES.get(str(tensor.dtype))) is None:
        raise RefusedError(f"tensors of {tensor.dtype} are not sent; known: {', '.join(_NAMES)}")
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return Tensor(dtype=dtype, shape=tensor.shape, data=flat.view(torch.uint8).numpy().tobytes())


def read_tensor(message: Tensor) -> Any:
    """Return the tensor, on the CPU."""
    if message.dtype not in _TYPES:
        raise RefusedError(f'tensors of "{message.dtype}" are not known; known: {", ".join(_TYPES)}')
    name, width = _TYPES[message.dtype]
    shape = tuple(message.shape)
    if len(message.data) != (expected := math.prod(shape) * width):
        raise RefusedError(f"a tensor {message.dtype} of shape {shape} has {expected} bytes, not {len(message.data)}")
    import torch

    dtype = getattr(torch, name)
    if not message.data:
        return _empty(shape, dtype)
    if dtype == torch.bool and max(message.data) > 1:
        raise RefusedError("a tensor of booleans has numbers beyond 0 and 1")
    return torch.frombuffer(bytearray(message.data), dtype=dtype).reshape(shape)


def _empty(shape: tuple[int, ...], dtype: Any) -> Any:
    import torch

    try:
        return torch.empty(shape, dtype=dtype)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise RefusedError(f"there is no tensor of shape {shape}") from error
