"""The digits that scikit-learn ships, read without importing it: that would take longer than importing torch does.

Each line of its file holds the 64 grey levels of an image, 0 to 16, and the class.
"""

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from esper_task_vision.images import LabelledImages, PublicData, checked, damaged, missing

_FILE = "datasets/data/digits.csv.gz"
_WHITE = 16


def read_digits(data: PublicData) -> LabelledImages:
    """Return all images in the order of the file.

    Raises:
        EsperError: E301 if scikit-learn or its file is not there, E302 if the file is damaged.
    """
    path = _file(data)
    try:
        lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
        if not lines:
            raise ValueError("it is empty")
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8, ndmin=2)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(data, str(path), f"it cannot be read: {error}") from error
    except OSError as error:
        raise missing(data, str(path), f"it cannot be read: {error.strerror}") from error
    pixels, labels = table[:, :-1], table[:, -1]
    _, height, width = data.shape.input_shape
    if pixels.shape[1] != height * width or pixels.max(initial=0) > _WHITE:
        raise damaged(data, str(path), f"its lines are not {height * width} grey levels from 0 to {_WHITE}")
    return checked(data, pixels.reshape(-1, 1, height, width), labels, str(path))


def _file(data: PublicData) -> Path:
    """Find the installed package; a top-level name is found without importing anything."""
    spec = find_spec("sklearn")
    if spec is None:
        raise missing(data, "the Python package sklearn", "scikit-learn is not installed")
    for folder in spec.submodule_search_locations or ():
        if (path := Path(folder, _FILE)).is_file():
            return path
    raise missing(data, str(spec.origin), f"this scikit-learn has no file {_FILE}")
