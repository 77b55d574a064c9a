"""Descriptors, splits, normalisation and augmentation, on the digits that scikit-learn ships."""

import gzip
import math
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from esper_core.api import EsperError, Task
from esper_core.specs import TaskSpec
from esper_task_vision.augmentation import crop_and_flip
from esper_task_vision.config import Cifar10Config, FashionMnistConfig
from esper_task_vision.images import LabelledImages, RawSplits
from esper_task_vision.plugin import esper_tasks
from esper_task_vision.splits import channel_statistics, resident, stratified
from esper_task_vision.tasks import ImageTask, cifar10, digits, fashion_mnist

SPECS: dict[str, TaskSpec] = {spec.name: spec for spec in esper_tasks()}


@pytest.fixture(scope="module")
def digits_task() -> ImageTask:
    task = digits()
    task.load()
    return task


def resolved(reference: str) -> object:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def test_descriptors_name_the_factories_and_options() -> None:
    assert list(SPECS) == ["digits", "fashion-mnist", "cifar10"]
    expected = {"digits": (digits, None), "fashion-mnist": (fashion_mnist, FashionMnistConfig)}
    expected["cifar10"] = (cifar10, Cifar10Config)
    for name, (factory, config) in expected.items():
        spec = SPECS[name]
        assert spec.kind == TaskSpec.kind
        assert resolved(spec.factory) is factory
        assert (resolved(spec.config) if spec.config else None) is config
        assert spec.host == "cnn"


def test_settings_of_each_task() -> None:
    sgd = {f"optimizer.{k}": v for k, v in (("name", "sgd"), ("lr", 0.1), ("momentum", 0.9), ("nesterov", True))}
    sgd["optimizer.weight_decay"] = 5e-4
    assert SPECS["digits"].host_options == {"widths": [4, 4]}
    assert SPECS["digits"].defaults == {"epochs": 40, "batch_size": 64, **sgd}
    assert SPECS["fashion-mnist"].host_options == {"widths": [8, 16]}
    assert SPECS["fashion-mnist"].defaults == {"epochs": 12, "batch_size": 128, **sgd}


def test_descriptors_and_options_import_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "sklearn", "datasets", "PIL"}
    code = "import sys, esper_task_vision.plugin, esper_task_vision.config"
    assert heavy.isdisjoint(modules_after(code))


@pytest.mark.slow
def test_building_a_task_imports_neither_its_data_nor_their_readers() -> None:
    code = "import sys; from esper_task_vision.tasks import *; digits(); cifar10(Cifar10Config())"
    code += "; fashion_mnist(FashionMnistConfig(directory='nowhere'))"
    assert {"sklearn", "datasets", "PIL"}.isdisjoint(modules_after(code))


@pytest.mark.slow
def test_digits_are_read_without_scikit_learn() -> None:
    code = "from esper_task_vision.tasks import digits; assert len(digits().load().train.targets) == 1078"
    assert "sklearn" not in modules_after(code)


def installed_digits(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """Let the package that Python finds be one whose file of digits holds this."""
    data = folder / "sklearn" / "datasets" / "data"
    data.mkdir(parents=True)
    (folder / "sklearn" / "__init__.py").touch()
    if content is not None:
        (data / "digits.csv.gz").write_bytes(content)
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    monkeypatch.syspath_prepend(folder)


def test_digits_say_that_scikit_learn_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(EsperError, match="scikit-learn is not installed") as caught:
        digits().load()
    assert caught.value.code == "E301"


LINE = ",".join(["16"] * 64)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "E301"),
        (b"no gzip", "E302"),
        (gzip.compress(b""), "E302"),
        (gzip.compress(b"1,2,3\n"), "E302"),
        (gzip.compress(f"{LINE},10\n".encode()), "E302"),
        (gzip.compress(f"{LINE},1\n".replace("16", "17", 1).encode()), "E302"),
        (gzip.compress(f"{LINE},1\n".encode())[:-12], "E302"),
    ],
    ids=["no file", "no gzip", "empty", "short lines", "no class", "too bright", "cut off"],
)
def test_damaged_digits_are_refused(
    content: bytes | None, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_digits(tmp_path, monkeypatch, content)
    with pytest.raises(EsperError) as caught:
        digits().load()
    assert caught.value.code == code


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_digits_follow_the_protocol(digits_task: ImageTask) -> None:
    assert isinstance(digits_task, Task)
    assert digits_task.shape.input_shape == (1, 8, 8)
    assert digits_task.random_guess_loss == pytest.approx(math.log(10))
    splits = digits_task.load()
    for split, size in ((splits.train, 1078), (splits.validation, 359), (splits.test, 360)):
        assert split.inputs.shape == (size, 1, 8, 8)
        assert (split.inputs.dtype, split.targets.dtype) == (torch.float32, torch.int64)
        assert split.inputs.is_contiguous()
        assert split.targets.shape == (size,)


def test_digits_splits_are_a_partition_with_the_class_proportions(digits_task: ImageTask) -> None:
    from sklearn.datasets import load_digits

    bunch, splits = load_digits(), digits_task.load()
    low, high = splits.train.inputs.min(), splits.train.inputs.max()  # what grey 0 and grey 16 have become
    found = []
    for part in (splits.train, splits.validation, splits.test):
        grey = ((part.inputs - low) / (high - low) * 16).round().to(torch.uint8)
        found += zip(map(bytes, grey.numpy()), part.targets.tolist(), strict=True)
        for count, total in zip(part.targets.bincount().tolist(), np.bincount(bunch.target), strict=True):
            assert abs(count - total * len(part.targets) / 1797) < 2
    published = zip(map(bytes, bunch.images.astype(np.uint8)), bunch.target.tolist(), strict=True)
    assert sorted(found) == sorted(published)


def test_digits_identity_is_this_very_data(digits_task: ImageTask) -> None:
    assert digits_task.identity == {
        "name": "digits",
        "shape": [1, 8, 8],
        "splits": {
            "train": {
                "samples": 1078,
                "sha256": "f5392f89646a6e420d9564aebb9cd8b0795586c2043db9ada50342eb66f2f051",
            },
            "validation": {
                "samples": 359,
                "sha256": "786c59929b11f904ea463202527fc54f854d0fdd5e3ca09ffd37f0a1c7227ef6",
            },
            "test": {
                "samples": 360,
                "sha256": "2ff3285f9e06e32853f14a24471326d104f13d11a98e8c539e6f79934f664e59",
            },
        },
    }


def test_every_caller_shares_the_same_tensors(digits_task: ImageTask) -> None:
    assert digits_task.load() is digits_task.load()


def test_a_pickled_task_loads_the_same_data(digits_task: ImageTask) -> None:
    twin = pickle.loads(pickle.dumps(digits()))
    assert twin.identity == digits_task.identity
    assert torch.equal(twin.load().train.inputs, digits_task.load().train.inputs)


def test_losses_and_hits_are_per_sample(digits_task: ImageTask) -> None:
    outputs = torch.randn(6, 10, requires_grad=True)
    targets = torch.tensor([0, 3, 9, 1, 1, 5])
    losses = digits_task.losses(outputs, targets)
    expected = torch.stack([-row.log_softmax(0)[target] for row, target in zip(outputs, targets, strict=True)])
    torch.testing.assert_close(losses, expected)
    losses.sum().backward()
    assert outputs.grad is not None
    hits = digits_task.correct(F.one_hot(torch.tensor([0, 3, 8, 1, 2, 5]), 10).float(), targets)
    assert hits.tolist() == [1.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    assert hits.dtype == torch.float32


def test_a_network_that_knows_nothing_has_the_random_guess_loss(digits_task: ImageTask) -> None:
    losses = digits_task.losses(torch.zeros(4, 10), torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(losses, torch.full((4,), digits_task.random_guess_loss))


def test_digits_are_not_augmented(digits_task: ImageTask) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(4, 1, 8, 8)
    assert digits_task.augment(batch, generator) is batch
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


@given(st.lists(st.integers(0, 4), min_size=2, max_size=120), st.data())
def test_stratified_sets_are_disjoint_exact_and_proportional(labels: list[int], data: st.DataObject) -> None:
    first = data.draw(st.integers(1, len(labels) - 1))
    second = data.draw(st.integers(1, len(labels) - first))
    every = np.array(labels)
    parts = stratified(every, (first, second))
    assert [len(part) for part in parts] == [first, second]
    assert len(set(np.concatenate(parts))) == first + second
    for label in set(labels):
        share = np.count_nonzero(every == label) * first / len(labels)
        assert abs(np.count_nonzero(every[parts[0]] == label) - share) < 1
    assert all((np.diff(part) > 0).all() for part in parts)


def test_a_first_set_does_not_depend_on_later_ones() -> None:
    labels = np.arange(200) % 7
    assert np.array_equal(stratified(labels, (40, 10))[0], stratified(labels, (40, 160))[0])
    assert not np.array_equal(stratified(labels, (40,))[0], stratified(labels, (40,), seed=1)[0])


def test_more_samples_than_there_are_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="11 samples were requested, but there are only 10"):
        stratified(np.arange(10), (6, 5))


@given(st.integers(1, 3), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_channel_statistics_agree_with_numpy(channels: int, count: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (count, channels, 3, 4), dtype=np.uint8)
    means, deviations = channel_statistics(images)
    np.testing.assert_allclose(means, images.astype(float).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(deviations, images.astype(float).std((0, 2, 3)), rtol=1e-9)


def raw_part(count: int, offset: int) -> LabelledImages:
    images = np.random.default_rng(offset).integers(offset, offset + 100, (count, 3, 6, 6), dtype=np.uint8)
    return LabelledImages(images=images, labels=np.arange(count, dtype=np.int64) % 10)


def test_normalisation_comes_from_the_training_images_alone() -> None:
    train = raw_part(50, 0)
    splits = resident(RawSplits(train=train, validation=raw_part(20, 60), test=raw_part(20, 120)))
    torch.testing.assert_close(splits.train.inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(splits.train.inputs.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    assert (splits.validation.inputs.mean((0, 2, 3)) > 1).all()
    others = resident(RawSplits(train=train, validation=raw_part(30, 5), test=raw_part(10, 9)))
    assert torch.equal(others.train.inputs, splits.train.inputs)


def test_a_constant_channel_is_refused() -> None:
    images = raw_part(20, 0).images.copy()
    images[:, 1] = 7
    train = LabelledImages(images=images, labels=np.zeros(20, dtype=np.int64))
    with pytest.raises(EsperError, match="cannot be normalised") as caught:
        resident(RawSplits(train=train, validation=train, test=train))
    assert caught.value.code == "E302"
    assert "channel 1" in str(caught.value)


def cropped_by_hand(image: torch.Tensor, down: int, right: int, mirrored: bool) -> torch.Tensor:
    """Shift by whole pixels, one pixel at a time."""
    height, width = image.shape
    out = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                out[y, width - 1 - x if mirrored else x] = image[y + down, x + right]
    return out


def test_augmentation_is_a_shift_and_a_reflection_of_the_whole_batch() -> None:
    batch = torch.arange(1.0, 2 * 3 * 8 * 6 + 1).view(2, 3, 8, 6)
    moves = [(dy, dx, flip) for dy in range(-4, 5) for dx in range(-4, 5) for flip in (False, True)]
    candidates = {move: torch.stack([cropped_by_hand(i, *move) for i in batch.flatten(0, 1)]) for move in moves}
    generator, seen = torch.Generator().manual_seed(0), set()
    for _ in range(300):
        out = crop_and_flip(batch, generator)
        assert out.shape == batch.shape
        seen.update(move for move, expected in candidates.items() if torch.equal(out.flatten(0, 1), expected))
    assert {dy for dy, _, _ in seen} == {dx for _, dx, _ in seen} == set(range(-4, 5))
    assert {flip for _, _, flip in seen} == {False, True}
    assert len(seen) > 100


def test_augmentation_draws_from_its_generator_alone() -> None:
    task, batch = cifar10(Cifar10Config()), torch.randn(8, 3, 32, 32)
    state, before = torch.get_rng_state(), batch.clone()
    runs = [[task.augment(batch, g) for _ in range(6)] for g in (torch.Generator().manual_seed(3) for _ in range(2))]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert not torch.equal(runs[0][0], runs[0][1])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(batch, before)


def test_cifar10_can_go_without_augmentation() -> None:
    batch = torch.randn(2, 3, 32, 32)
    assert cifar10(Cifar10Config(augment=False)).augment(batch, torch.Generator()) is batch


@pytest.mark.parametrize("config", [FashionMnistConfig, Cifar10Config])
@pytest.mark.parametrize("option", ["train_samples", "validation_samples"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_numbers_of_samples_are_positive_integers(config: type, option: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=option):
        config(**{option: value})
