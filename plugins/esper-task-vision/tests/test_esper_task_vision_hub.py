"""Parquet and arrow files, and the hub, through `datasets` itself (its import alone takes seconds)."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esper_core.api import EsperError
from esper_task_vision.config import Cifar10Config, FashionMnistConfig
from esper_task_vision.tasks import ImageTask, cifar10, fashion_mnist

pytestmark = pytest.mark.slow

Pictures = Callable[..., tuple[np.ndarray, np.ndarray]]
Table = Callable[..., Any]


def small_cifar10(folder: Path | None = None) -> ImageTask:
    directory = None if folder is None else str(folder)
    return cifar10(Cifar10Config(train_samples=40, validation_samples=20, directory=directory))


def refusal(task: ImageTask) -> EsperError:
    with pytest.raises(EsperError) as caught:
        task.load()
    return caught.value


def test_parquet_files_give_pixels_labels_and_splits(parquet_folder: Path, pictures: Pictures) -> None:
    task = small_cifar10(parquet_folder)
    splits = task.load()
    assert splits.train.inputs.shape == (40, 3, 32, 32)
    assert splits.train.targets.bincount().tolist() == [4] * 10
    assert splits.validation.targets.bincount().tolist() == [2] * 10
    assert splits.test.targets.tolist() == [label % 10 for label in range(20)]
    published, _ = pictures(20, (32, 32, 3), 1)
    for channel in range(3):
        pairs = np.stack([published[..., channel].ravel(), splits.test.inputs[:, channel].numpy().ravel()])
        assert np.corrcoef(pairs)[0, 1] == pytest.approx(1.0, abs=1e-9)


def test_arrow_files_are_the_same_data(parquet_folder: Path, tmp_path: Path, tables: dict[str, Any]) -> None:
    import datasets

    datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "saved"))
    assert small_cifar10(tmp_path / "saved").identity == small_cifar10(parquet_folder).identity


def test_the_data_directory_may_hold_parquet_files(parquet_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPER_DATA_DIR", str(parquet_folder.parent))
    assert small_cifar10().identity == small_cifar10(parquet_folder).identity


def test_idx_and_parquet_files_are_the_same_data(
    idx_folder: Path, tmp_path: Path, pictures: Pictures, table: Table
) -> None:
    folder = tmp_path / "parquet"
    folder.mkdir()
    for seed, (split, count) in enumerate((("train", 100), ("test", 40))):
        table(*pictures(count, (28, 28), seed), image="image").to_parquet(str(folder / f"{split}.parquet"))
    options = {"train_samples": 50, "validation_samples": 20}
    idx, parquet = (fashion_mnist(FashionMnistConfig(directory=str(f), **options)) for f in (idx_folder, folder))
    assert idx.identity == parquet.identity
    assert idx.load().train.inputs.equal(parquet.load().train.inputs)


def test_nothing_stays_in_the_librarys_cache(parquet_folder: Path) -> None:
    import datasets

    small_cifar10(parquet_folder).load()
    assert not list(Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_named(parquet_folder: Path, split: str) -> None:
    for path in parquet_folder.rglob(f"{split}-*"):
        path.unlink()
    error = refusal(small_cifar10(parquet_folder))
    assert error.code == "E301"
    assert f"{split}*.parquet" in (error.where or "")
    assert "task.directory=" in (error.fix or "")


@pytest.mark.parametrize(
    "edit", [lambda content: content[:-300], lambda content: b"PAR1 nonsense", lambda content: b""]
)
def test_a_damaged_parquet_file_is_named(parquet_folder: Path, edit: Callable[[bytes], bytes]) -> None:
    path = next(parquet_folder.rglob("test-*"))
    path.write_bytes(edit(path.read_bytes()))
    error = refusal(small_cifar10(parquet_folder))
    assert error.code == "E302"
    assert path.name in (error.where or "")
    assert "task.directory=" in (error.fix or "")


def test_a_damaged_arrow_file_is_named(tmp_path: Path, tables: dict[str, Any]) -> None:
    import datasets

    datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "saved"))
    path = next((tmp_path / "saved" / "train").glob("*.arrow"))
    path.write_bytes(gzip.compress(path.read_bytes()))
    error = refusal(small_cifar10(tmp_path / "saved"))
    assert error.code == "E302"
    assert str(path) in (error.where or "")


def test_a_damaged_image_is_refused(parquet_folder: Path, tables: dict[str, Any]) -> None:
    import datasets

    stored = tables["test"].cast_column("img", datasets.Image(decode=False))
    broken = stored.map(lambda row: {"img": {"bytes": row["img"]["bytes"][:40], "path": None}})
    broken.to_parquet(str(next(parquet_folder.rglob("test-*"))))
    error = refusal(small_cifar10(parquet_folder))
    assert error.code == "E302"
    assert "cannot be decoded" in (error.why or "")


def test_images_of_another_shape_are_counted_and_named(parquet_folder: Path, pictures: Pictures, table: Table) -> None:
    table(*pictures(20, (32, 32), 1)).to_parquet(str(next(parquet_folder.rglob("test-*"))))
    error = refusal(small_cifar10(parquet_folder))
    assert error.code == "E302"
    assert "test-00000-of-00001.parquet: image 0" in (error.where or "")
    assert "(1, 32, 32) of uint8, not (3, 32, 32)" in (error.why or "")


def test_missing_labels_are_refused(parquet_folder: Path, pictures: Pictures, table: Table) -> None:
    hidden = table(*pictures(20, (32, 32, 3), 1)).remove_columns("label").add_column("label", [None] * 20)
    hidden.to_parquet(str(next(parquet_folder.rglob("test-*"))))
    error = refusal(small_cifar10(parquet_folder))
    assert error.code == "E302"


def test_other_columns_are_told(parquet_folder: Path, pictures: Pictures, table: Table) -> None:
    for path in parquet_folder.rglob("*.parquet"):
        table(*pictures(20, (32, 32, 3), 1), image="picture", label="fine_label").to_parquet(str(path))
    error = refusal(small_cifar10(parquet_folder))
    assert error.code == "E302"
    assert "picture, fine_label; expected image or img, and label" in (error.why or "")


@pytest.mark.parametrize(
    "make", [lambda: small_cifar10(), lambda: fashion_mnist(FashionMnistConfig(system_directory="nowhere"))]
)
def test_without_files_and_without_network_the_ways_are_told(make: Callable[[], ImageTask]) -> None:
    error = refusal(make())
    assert error.code == "E301"
    assert "on the hub" in (error.where or "")
    assert "OfflineModeIsEnabled" in (error.why or "")
    assert "task.directory=" in (error.fix or "")


def test_what_the_hub_gives_is_the_same_data(
    parquet_folder: Path, tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked: list[tuple[str, str]] = []

    def load_dataset(name: str, *, split: str) -> Any:
        asked.append((name, split))
        return tables[split]

    expected = small_cifar10(parquet_folder).identity
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert small_cifar10().identity == expected
    assert asked == [("uoft-cs/cifar10", "train"), ("uoft-cs/cifar10", "test")]
