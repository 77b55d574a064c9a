"""Images through the `datasets` package: local parquet and arrow files, or the Hugging Face hub."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esper_core.api import EsperError
from esper_task_vision.images import LabelledImages, PublicData, checked, damaged, missing

#: Formats of local files: the name of the `datasets` builder, which is also the suffix of the files.
_FORMATS = ("parquet", "arrow")
_SPLITS = ("train", "test")
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMN = "label"


def table_files(folder: Path) -> tuple[str, Mapping[str, list[str]]] | None:
    """Return the format and, by split, the parquet or arrow files below the folder; None if there are none.

    A file belongs to the split whose name is a word in its path below the folder.
    """
    for kind in _FORMATS:
        if paths := sorted(folder.rglob(f"*.{kind}")):
            names = {path: path.relative_to(folder).as_posix() for path in paths}
            return kind, {split: [str(path) for path in paths if _names(split, names[path])] for split in _SPLITS}
    return None


def read_tables(
    data: PublicData, folder: Path, kind: str, files: Mapping[str, list[str]]
) -> tuple[LabelledImages, LabelledImages]:
    """Return the training and test images of local files that `table_files` found.

    Raises:
        EsperError: E301 if a split has no files or `datasets` is not installed, E302 if the files are damaged.
    """
    for split in _SPLITS:
        if not files[split]:
            raise missing(data, str(folder / f"{split}*.{kind}"), f"no {kind} file below has '{split}' in its name")
    with _installed(data, str(folder)):
        import datasets
        import PIL  # noqa: F401  (decodes the images)
    # The images are kept in memory, so the library's cache is only needed for a moment.
    with TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        try:
            tables = datasets.load_dataset(kind, data_files=dict(files), cache_dir=cache)
        except (ValueError, TypeError, OSError, datasets.exceptions.DatasetsError) as error:
            where = ", ".join(name for split in _SPLITS for name in files[split])
            raise damaged(data, where, f"the {kind} files cannot be read: {_first_line(error)}") from error
        train, test = (_decoded(data, tables[split], ", ".join(files[split])) for split in _SPLITS)
    return train, test


def read_hub(data: PublicData, where: str) -> tuple[LabelledImages, LabelledImages]:
    """Return the training and test images from the hub, or from the cache of an earlier download.

    Args:
        data: what to load.
        where: the places that were looked at before, for messages.

    Raises:
        EsperError: E301 if a library is not installed or the download fails, E302 if the data are not as expected.
    """
    with _installed(data, where):
        import datasets  # noqa: F401  (loads them)
        import PIL  # noqa: F401  (decodes the images)

        from esper_public_data import load_splits
    try:
        tables = load_splits(data.hub, _SPLITS)
    except EsperError as error:
        raise missing(data, f"{where}, {data.hub} on the hub", error.why or error.what) from error
    train, test = (_decoded(data, tables[split], f"{data.hub} on the hub, split {split}") for split in _SPLITS)
    return train, test


def _names(split: str, path: str) -> bool:
    return re.search(rf"(?<![a-z]){split}(?![a-z])", path) is not None


@contextmanager
def _installed(data: PublicData, where: str) -> Iterator[None]:
    """Let a library that cannot be imported be an error that says how to get it."""
    try:
        yield
    except ImportError as error:
        raise EsperError(
            "E301",
            f"the data of {data.name} cannot be read",
            where=where,
            why=f"the Python package {error.name} is not installed",
            fix=data.how_to_get,
        ) from error


def _decoded(data: PublicData, table: Any, where: str) -> LabelledImages:
    """Decode a whole table; its images are stored as compressed files."""
    import datasets

    column = next((name for name in _IMAGE_COLUMNS if name in table.column_names), None)
    if column is None or _LABEL_COLUMN not in table.column_names:
        expected = f"{' or '.join(_IMAGE_COLUMNS)}, and {_LABEL_COLUMN}"
        raise damaged(data, where, f"its columns are {', '.join(table.column_names)}; expected {expected}")
    pixels = np.empty((len(table), *data.shape.input_shape), dtype=np.uint8)
    try:
        labels = np.asarray(table[_LABEL_COLUMN][:], dtype=np.int64)
        images = table.select_columns([column]).cast_column(column, datasets.Image())
        for index, image in enumerate(images[column]):
            pixels[index] = _channels_first(data, np.asarray(image), f"{where}: image {index}")
    except (ValueError, TypeError, OSError) as error:
        raise damaged(data, where, f"its images and labels cannot be decoded: {_first_line(error)}") from error
    return checked(data, pixels, labels, where)


def _channels_first(data: PublicData, image: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Convert (H, W) or (H, W, C) to (C, H, W)."""
    pixels = np.atleast_3d(image).transpose(2, 0, 1)
    if pixels.shape != data.shape.input_shape or pixels.dtype != np.uint8:
        found = f"it has the shape {pixels.shape} of {pixels.dtype}"
        raise damaged(data, where, f"{found}, not {data.shape.input_shape} of uint8")
    return pixels


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
