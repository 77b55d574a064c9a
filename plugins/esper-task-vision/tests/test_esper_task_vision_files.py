"""Fashion-MNIST from IDX files: where they are looked for, and what happens if they are not as they should be."""

import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from esper_core.api import EsperError
from esper_task_vision.config import Cifar10Config, FashionMnistConfig
from esper_task_vision.tasks import ImageTask, cifar10, fashion_mnist

FILES = [f"{prefix}-{kind}-ubyte.gz" for prefix in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def small_task(folder: Path | None = None, **options: object) -> ImageTask:
    options = {"train_samples": 50, "validation_samples": 20, "system_directory": "nowhere", **options}
    return fashion_mnist(FashionMnistConfig(directory=None if folder is None else str(folder), **options))


def refusal(task: ImageTask) -> EsperError:
    with pytest.raises(EsperError) as caught:
        task.load()
    return caught.value


def change(path: Path, edit: Callable[[bytes], bytes]) -> None:
    path.write_bytes(gzip.compress(edit(gzip.decompress(path.read_bytes())), 1))


def sizes(task: ImageTask) -> list[int]:
    return [part["samples"] for part in task.identity["splits"].values()]


def test_three_splits_from_two_pairs_of_files(idx_folder: Path) -> None:
    task = small_task(idx_folder)
    splits = task.load()
    assert sizes(task) == [50, 20, 40]
    assert splits.train.inputs.shape == (50, 1, 28, 28)
    assert splits.train.targets.bincount().tolist() == [5] * 10
    assert splits.validation.targets.bincount().tolist() == [2] * 10
    assert splits.test.targets.tolist() == [label % 10 for label in range(40)]


def test_pixels_arrive_in_their_places(idx_folder: Path, pictures: Callable[..., tuple]) -> None:
    splits = small_task(idx_folder).load()
    published, _ = pictures(40, (28, 28), 1)
    pairs = np.stack([published.ravel(), splits.test.inputs.numpy().ravel()])
    assert np.corrcoef(pairs)[0, 1] == pytest.approx(1.0, abs=1e-9)


def test_another_number_of_training_images_leaves_the_other_splits(idx_folder: Path) -> None:
    few, many = (small_task(idx_folder, train_samples=n).identity["splits"] for n in (30, 80))
    assert few["validation"] == many["validation"]
    assert few["test"] == many["test"]
    assert few["train"] != many["train"]


def test_changed_data_have_another_identity(idx_folder: Path) -> None:
    before = small_task(idx_folder).identity["splits"]
    change(idx_folder / FILES[2], lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    after = small_task(idx_folder).identity["splits"]
    assert after["test"] != before["test"]
    assert after["train"] == before["train"]


def test_files_may_be_unpacked(idx_folder: Path) -> None:
    packed = small_task(idx_folder).identity
    for name in FILES:
        path = idx_folder / name
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert small_task(idx_folder).identity == packed


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_with_the_way_to_get_it(idx_folder: Path, name: str) -> None:
    (idx_folder / name).unlink()
    error = refusal(small_task(idx_folder))
    assert error.code == "E301"
    assert str(idx_folder / name) in str(error)
    assert_says_how_to_get(error)


def assert_says_how_to_get(error: EsperError) -> None:
    for way in ("apt-get install dataset-fashion-mnist", "pip install 'esper-task-vision[hub]'", "task.directory="):
        assert way in (error.fix or "")


DAMAGES = {
    "truncated elements": (lambda content: content[:-3], "but it contains"),
    "too many elements": (lambda content: content + b"\0", "but it contains"),
    "truncated header": (lambda content: content[:6], "inside its header"),
    "empty": (lambda content: b"", "it begins with"),
    "magic of another format": (lambda content: b"\x89PNG" + content[4:], "it begins with 89 50 4e 47"),
    "magic of signed bytes": (lambda content: b"\0\0\x09" + content[3:], "it begins with 00 00 09"),
    "magic with other axes": (lambda content: b"\0\0\x08\x02" + content[4:], "it begins with 00 00 08 02"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_what_is_wrong(idx_folder: Path, name: str, damage: str) -> None:
    edit, why = DAMAGES[damage]
    change(idx_folder / name, edit)
    error = refusal(small_task(idx_folder))
    assert error.code == "E302"
    assert name in (error.where or "")
    assert why in (error.why or "")
    assert_says_how_to_get(error)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("edit", [lambda packed: packed[:-20], lambda packed: b"no gzip at all", lambda packed: b""])
def test_a_file_that_cannot_be_unpacked_is_named(idx_folder: Path, name: str, edit: Callable) -> None:
    path = idx_folder / name
    path.write_bytes(edit(path.read_bytes()))
    error = refusal(small_task(idx_folder))
    assert error.code == "E302"
    assert name in (error.where or "")


def test_a_file_that_may_not_be_read_is_named(idx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny)
    error = refusal(small_task(idx_folder))
    assert error.code == "E301"
    assert FILES[0] in (error.where or "")
    assert "Permission denied" in (error.why or "")


def rewrite_count(content: bytes, count: int, per_sample: int) -> bytes:
    """Say another number of samples in the header, and bring as many."""
    header = 16 if per_sample > 1 else 8
    samples = content[header : header + count * per_sample].ljust(count * per_sample, b"\0")
    return content[:4] + struct.pack(">I", count) + content[8:header] + samples


@pytest.mark.parametrize("prefix", ["train", "t10k"])
@pytest.mark.parametrize(("kind", "per_sample"), [("images-idx3", 784), ("labels-idx1", 1)])
@pytest.mark.parametrize("count", [17, 300])
def test_other_numbers_of_images_and_labels_are_refused(
    idx_folder: Path, prefix: str, kind: str, per_sample: int, count: int
) -> None:
    change(idx_folder / f"{prefix}-{kind}-ubyte.gz", lambda content: rewrite_count(content, count, per_sample))
    error = refusal(small_task(idx_folder))
    assert error.code == "E302"
    assert f"{prefix}-images-idx3" in (error.where or "")
    assert str(count) in (error.why or "")
    assert_says_how_to_get(error)


def test_no_images_at_all_are_refused(idx_folder: Path) -> None:
    change(idx_folder / FILES[2], lambda content: rewrite_count(content, 0, 784))
    change(idx_folder / FILES[3], lambda content: rewrite_count(content, 0, 1))
    error = refusal(small_task(idx_folder))
    assert (error.code, error.why) == ("E302", "there are no images")


def test_images_of_another_size_are_refused(idx_folder: Path) -> None:
    change(idx_folder / FILES[0], lambda content: content[:8] + struct.pack(">II", 14, 56) + content[16:])
    error = refusal(small_task(idx_folder))
    assert error.code == "E302"
    assert "(1, 14, 56), not (1, 28, 28)" in (error.why or "")


def test_a_label_beyond_the_classes_is_refused(idx_folder: Path) -> None:
    change(idx_folder / FILES[1], lambda content: content[:-1] + b"\x0a")
    error = refusal(small_task(idx_folder))
    assert error.code == "E302"
    assert "0 to 10, not 0 to 9" in (error.why or "")


def test_more_samples_than_the_training_images_are_refused(idx_folder: Path) -> None:
    assert sizes(small_task(idx_folder, train_samples=80)) == [80, 20, 40]
    error = refusal(small_task(idx_folder, train_samples=81))
    assert error.code == "E202"
    assert "task.train_samples=81" in (error.where or "")


def test_the_data_directory_comes_before_the_systems(idx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_system = small_task(system_directory=str(idx_folder))
    assert sizes(with_system) == [50, 20, 40]
    monkeypatch.setenv("ESPER_DATA_DIR", str(idx_folder.parent))
    assert sizes(small_task()) == [50, 20, 40]
    own = idx_folder.parent / "own" / "fashion-mnist"
    own.mkdir(parents=True)
    monkeypatch.setenv("ESPER_DATA_DIR", str(own.parent))
    error = refusal(small_task(system_directory=str(idx_folder)))
    assert error.code == "E301"
    assert str(own / FILES[0]) in (error.where or "")


def test_a_directory_given_by_option_comes_first_and_must_exist(
    idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESPER_DATA_DIR", str(idx_folder.parent))
    error = refusal(small_task(idx_folder / "elsewhere"))
    assert error.code == "E301"
    assert str(idx_folder / "elsewhere") in str(error)
    assert_says_how_to_get(error)


@pytest.mark.parametrize("absent", ["datasets", "PIL"])
def test_data_that_are_nowhere_are_an_error_that_tells_the_ways(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    monkeypatch.setitem(sys.modules, "datasets", sys)  # anything that imports: it is not used before both are there
    monkeypatch.setitem(sys.modules, absent, None)
    error = refusal(small_task())
    assert error.code == "E301"
    assert error.where == "$ESPER_DATA_DIR/fashion-mnist, nowhere"
    assert error.why == f"the Python package {absent} is not installed"
    assert_says_how_to_get(error)


def test_cifar10_without_its_reader_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    error = refusal(cifar10(Cifar10Config()))
    assert error.code == "E301"
    assert "pip install 'esper-task-vision[hub]'" in (error.fix or "")
    assert "task.directory=" in (error.fix or "")


def test_a_folder_without_tables_is_not_cifar10(idx_folder: Path) -> None:
    error = refusal(cifar10(Cifar10Config(directory=str(idx_folder))))
    assert error.code == "E301"
    assert str(idx_folder) in (error.where or "")


def test_the_identity_of_missing_data_is_an_error_too() -> None:
    with pytest.raises(EsperError):
        _ = small_task(Path("nowhere")).identity
