"""The published Fashion-MNIST files, as Debian's package installs them."""

from pathlib import Path

import pytest

from esper_task_vision.config import FashionMnistConfig
from esper_task_vision.tasks import ImageTask, fashion_mnist


@pytest.fixture(scope="module")
def task() -> ImageTask:
    folder = Path(FashionMnistConfig().system_directory)
    if not folder.is_dir():
        pytest.fail(f"{folder} is missing: sudo apt-get install dataset-fashion-mnist", pytrace=False)
    return fashion_mnist(FashionMnistConfig(directory=str(folder)))


def test_default_splits_of_the_published_images(task: ImageTask) -> None:
    splits = task.load()
    for split, of_each_class in ((splits.train, 1200), (splits.validation, 400), (splits.test, 1000)):
        assert split.inputs.shape == (10 * of_each_class, 1, 28, 28)
        assert split.targets.bincount().tolist() == [of_each_class] * 10


def test_pixels_are_the_published_ones(task: ImageTask) -> None:
    assert {name: part["sha256"] for name, part in task.identity["splits"].items()} == {
        "train": "70b1aac8576786632b615d62ab254cdad8175e92bf623b045eb949384c4f704e",
        "validation": "94f24d021a5b542efa270a94a6605c5c79e0c56cefb9e8432f2712f42400bff6",
        "test": "3581bf52f521803120533f28e81ae934decd1771980630083c739dc6da7d3bc6",
    }


def test_the_first_test_image_is_an_ankle_boot(task: ImageTask) -> None:
    assert task.load().test.targets[:5].tolist() == [9, 2, 1, 1, 6]


def test_training_images_are_normalised(task: ImageTask) -> None:
    inputs = task.load().train.inputs
    assert inputs.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert inputs.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)
