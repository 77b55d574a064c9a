"""Nothing here may find the user's own data; small folders of IDX files."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def no_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESPER_DATA_DIR", raising=False)


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def pictures() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Random images (N, H, W) or (N, H, W, C) with all ten labels."""

    def make(count: int, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
        return pixels, np.arange(count, dtype=np.uint8) % 10

    return make


@pytest.fixture
def idx_folder(tmp_path: Path, pictures: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Path:
    """Four gzipped IDX files: 100 training and 40 test images."""
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for seed, (prefix, count) in enumerate((("train", 100), ("t10k", 40))):
        images, labels = pictures(count, (28, 28), seed)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images), 1))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels), 1))
    return folder


@pytest.fixture
def table() -> Callable[..., Any]:
    """Make a table as the hub has it: PNG files in one column, class labels in the other."""

    def make(pixels: np.ndarray, labels: np.ndarray, image: str = "img", label: str = "label") -> Any:
        # Imported here: it takes seconds.
        import datasets
        from PIL import Image

        features = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(num_classes=10)})
        images = [Image.fromarray(picture) for picture in pixels]
        return datasets.Dataset.from_dict({image: images, label: labels.tolist()}, features=features)

    return make


@pytest.fixture
def tables(pictures: Callable[..., tuple[np.ndarray, np.ndarray]], table: Callable[..., Any]) -> dict[str, Any]:
    return {"train": table(*pictures(60, (32, 32, 3), 0)), "test": table(*pictures(20, (32, 32, 3), 1))}


@pytest.fixture
def parquet_folder(tmp_path: Path, tables: dict[str, Any]) -> Path:
    """Parquet files as the hub has them: 60 training images in two files, 20 test images."""
    folder = tmp_path / "cifar10" / "plain_text"
    folder.mkdir(parents=True)
    tables["train"].select(range(30)).to_parquet(str(folder / "train-00000-of-00002.parquet"))
    tables["train"].select(range(30, 60)).to_parquet(str(folder / "train-00001-of-00002.parquet"))
    tables["test"].to_parquet(str(folder / "test-00000-of-00001.parquet"))
    return folder.parent
