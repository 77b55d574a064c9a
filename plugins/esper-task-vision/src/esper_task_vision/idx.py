"""The IDX format, in which MNIST and similar data sets are published.

A file contains two zero bytes, the type of an element, the number of axes, the length of each axis as a big-endian
32-bit integer, and the elements.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esper_task_vision.images import LabelledImages, PublicData, checked, damaged, missing

_UNSIGNED_BYTE = 0x08
_AXES_OF_IMAGES = 3
_AXES_OF_LABELS = 1


def read_idx_folder(data: PublicData, folder: Path) -> tuple[LabelledImages, LabelledImages]:
    """Return the official training and test images from the four files of the MNIST family, gzipped or not.

    Raises:
        EsperError: E301 if a file is missing, E302 if it is damaged; both name the file.
    """
    return _read_pair(data, folder, "train"), _read_pair(data, folder, "t10k")


def _read_pair(data: PublicData, folder: Path, prefix: str) -> LabelledImages:
    images = _find(data, folder, f"{prefix}-images-idx3-ubyte")
    labels = _find(data, folder, f"{prefix}-labels-idx1-ubyte")
    pixels = _read(data, images, _AXES_OF_IMAGES)[:, np.newaxis]
    return checked(data, pixels, _read(data, labels, _AXES_OF_LABELS), f"{images} with {labels.name}")


def _find(data: PublicData, folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise missing(data, str(folder / f"{name}.gz"), "there is no such file")


def _read(data: PublicData, path: Path, axes: int) -> NDArray[np.uint8]:
    content = _content(data, path)
    magic, header = bytes((0, 0, _UNSIGNED_BYTE, axes)), 4 + 4 * axes
    if content[:4] != magic:
        raise damaged(data, str(path), f"it begins with {content[:4].hex(' ')}, not {magic.hex(' ')}")
    if len(content) < header:
        raise damaged(data, str(path), f"it ends after {len(content)} bytes, inside its header of {header}")
    sizes = struct.unpack(f">{axes}I", content[4:header])
    if len(content) - header != math.prod(sizes):
        promised = f"its header promises {'x'.join(map(str, sizes))} = {math.prod(sizes)} elements"
        raise damaged(data, str(path), f"{promised}, but it contains {len(content) - header}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(sizes)


def _content(data: PublicData, path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(data, str(path), f"it cannot be unpacked: {error}") from error
    except OSError as error:
        raise missing(data, str(path), f"it cannot be read: {error.strerror}") from error
