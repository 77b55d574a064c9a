"""Writing a safetensors file without a copy of what is in it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

#: What elements are called in the file.
_ELEMENTS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.bool: "BOOL",
}


def safetensors_parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """Yield the parts of a safetensors file: its header, then every tensor's own memory.

    The library's `save` copies everything twice: a network of which there is memory for one copy more could be trained,
    but not saved.

    Args:
        tensors: contiguous, on the CPU.
        metadata: texts.
    """
    # The widest elements first, so that every tensor begins at a multiple of its element's size.
    names, end = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)), 0
    header: dict[str, Any] = {"__metadata__": metadata}
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        kind, shape = _ELEMENTS[tensors[name].dtype], [*tensors[name].shape]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    yield from (memory(tensors[name]) for name in names)


def memory(tensor: Tensor) -> bytes | memoryview:
    """Return the bytes of a contiguous tensor on the CPU, not copied."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b""
