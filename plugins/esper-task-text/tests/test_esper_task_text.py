"""The task `text` and what both tasks share: descriptors, splits, loss and metric."""

import math
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from esper_core.api import EsperError, Split, Task, TaskKind
from esper_core.specs import TaskSpec
from esper_task_text.config import TextConfig, TinyStoriesConfig
from esper_task_text.plugin import esper_tasks
from esper_task_text.tasks import TextTask, text, tinystories

SPECS: dict[str, TaskSpec] = {spec.name: spec for spec in esper_tasks()}
SEPARATOR = 256


@pytest.fixture(scope="module")
def task() -> TextTask:
    made = text(TextConfig())
    made.load()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty files, each of 100 to 290 bytes that occur in no other."""
    root = tmp_path / "files"
    root.mkdir()
    for index in range(20):
        (root / f"{index}.bin").write_bytes(bytes([10 * index + step % 10 for step in range(100 + 10 * index)]))
    return root


def small(path: Path | None, **options: int) -> TextTask:
    sizes = {"context": 16, "train_sequences": 40, "validation_sequences": 10, "test_sequences": 12} | options
    return text(TextConfig(path=None if path is None else str(path), **sizes))


def resolved(reference: str) -> object:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def test_descriptors_name_the_factories_and_options() -> None:
    assert list(SPECS) == ["text", "tinystories"]
    for name, factory, config in (("text", text, TextConfig), ("tinystories", tinystories, TinyStoriesConfig)):
        spec = SPECS[name]
        assert spec.kind == TaskSpec.kind
        assert resolved(spec.factory) is factory
        assert resolved(spec.config) is config
        assert spec.host == "transformer"


def test_descriptors_and_options_import_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "datasets", "tokenizers"}
    assert heavy.isdisjoint(modules_after("import esper_task_text.plugin, esper_task_text.config"))


@pytest.mark.slow
def test_building_a_task_imports_neither_its_data_nor_their_readers() -> None:
    code = "from esper_task_text.tasks import *; text(TextConfig(path='nowhere')); tinystories(TinyStoriesConfig())"
    assert {"datasets", "tokenizers"}.isdisjoint(modules_after(code))


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_the_task_follows_the_protocol(task: TextTask) -> None:
    assert isinstance(task, Task)
    assert (task.shape.kind, task.shape.input_shape, task.shape.outputs) == (TaskKind.TOKENS, (128,), 257)
    assert task.random_guess_loss == pytest.approx(math.log(257))
    splits = task.load()
    for split, count in ((splits.train, 1024), (splits.validation, 256), (splits.test, 512)):
        assert split.inputs.shape == split.targets.shape == (count, 128)
        assert split.inputs.dtype == split.targets.dtype == torch.int64
        assert 0 <= split.inputs.min() <= split.inputs.max() <= SEPARATOR


def test_the_default_text_is_python(task: TextTask) -> None:
    train = bytes(task.load().train.inputs.flatten().clamp(max=255).tolist())
    assert train.count(b"self.") > 200
    assert train.count(b"\n    def ") > 50


def test_the_identity_is_this_very_text(task: TextTask, folder: Path) -> None:
    assert task.identity["corpus"].startswith("standard library of Python 3.")
    assert text(TextConfig()).identity == task.identity
    base = small(folder).identity
    assert base["corpus"] == "files"
    assert set(base["splits"]["train"]) == {"documents", "sequences", "sha256"}
    assert sum(part["documents"] for part in base["splits"].values()) == 20
    others = [small(folder, **change).identity for change in ({"context": 8}, {"max_bytes": 3000})]
    (folder / "0.bin").write_bytes(b"something else" * 10)
    others.append(small(folder).identity)
    assert all(other["splits"] != base["splits"] for other in others)


def bytes_of(split: Split) -> set[int]:
    return set(split.inputs.flatten().tolist()) - {SEPARATOR}


def test_no_file_is_in_two_splits(folder: Path) -> None:
    splits = small(folder).load()
    train, validation, test = (bytes_of(split) for split in (splits.train, splits.validation, splits.test))
    assert train
    assert validation
    assert test
    assert train.isdisjoint(validation)
    assert train.isdisjoint(test)
    assert validation.isdisjoint(test)


def test_a_single_file_is_cut_in_three_stretches(tmp_path: Path) -> None:
    whole = b"".join(b"%04d " % number for number in range(700))
    (tmp_path / "book.txt").write_bytes(whole)
    stretches = ((0, 2800), (2800, 3150), (3150, 3500))  # 8 : 1 : 1
    for split, (start, end) in zip(splits_of(small(tmp_path / "book.txt").load()), stretches, strict=True):
        for sequence in split.inputs.tolist():
            found = whole.index(bytes(token for token in sequence if token != SEPARATOR))
            assert start <= found <= end - 15


def splits_of(splits: object) -> list[Split]:
    return [splits.train, splits.validation, splits.test]  # type: ignore[attr-defined]


def test_targets_are_the_inputs_shifted_by_one(task: TextTask) -> None:
    for split in splits_of(task.load()):
        assert torch.equal(split.inputs[:, 1:], split.targets[:, :-1])


def test_bytes_need_no_encoding(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}").write_bytes(bytes([index + 253]) * 200)
    splits = small(tmp_path, train_sequences=5, validation_sequences=5, test_sequences=5).load()
    assert sorted(value for split in splits_of(splits) for value in bytes_of(split)) == [253, 254, 255]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_too_little_text_is_an_error_that_says_how_much_there_is(folder: Path, split: str) -> None:
    with pytest.raises(EsperError, match=f"too little text for the {split} split") as caught:
        small(folder, **{f"{split}_sequences": 100_000}).load()
    error = caught.value
    assert error.code == "E202"
    assert f"task.{split}_sequences=100000" in (error.where or "")
    assert "sequences of 16 bytes" in (error.why or "")
    assert "task.max_bytes" in (error.fix or "")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_as_many_sequences_as_the_error_offers_are_there(folder: Path, split: str) -> None:
    option = f"{split}_sequences"
    with pytest.raises(EsperError) as caught:
        small(folder, **{option: 100_000}).load()
    offered = int((caught.value.fix or "").split(f"task.{option}=")[1].split()[0])
    assert len(getattr(small(folder, **{option: offered}).load(), split).inputs) == offered
    with pytest.raises(EsperError):
        small(folder, **{option: offered + 1}).load()


def test_other_numbers_of_sequences_leave_the_other_splits_alone(folder: Path) -> None:
    base, other = small(folder).load(), small(folder, train_sequences=80).load()
    assert torch.equal(base.validation.inputs, other.validation.inputs)
    assert torch.equal(base.test.inputs, other.test.inputs)
    assert len(other.train.inputs) == 80


def test_a_file_too_short_for_three_splits_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"ab")
    with pytest.raises(EsperError, match="too little text") as caught:
        small(tmp_path / "short").load()
    assert "=0" not in str(caught.value)


def test_missing_text_is_an_error_and_never_replaced(tmp_path: Path) -> None:
    missing = small(tmp_path / "nowhere")
    for ask in (missing.load, lambda: missing.shape, lambda: missing.identity, lambda: missing.random_guess_loss):
        with pytest.raises(EsperError) as caught:
            ask()
        assert caught.value.code == "E301"


def test_every_caller_shares_the_same_tensors(task: TextTask) -> None:
    assert task.load() is task.load()


def test_a_pickled_task_loads_the_same_text(folder: Path) -> None:
    one = small(folder)
    twin = pickle.loads(pickle.dumps(one))
    assert twin.identity == one.identity
    assert torch.equal(twin.load().train.inputs, one.load().train.inputs)


def test_batches_are_not_augmented(task: TextTask) -> None:
    generator, batch = torch.Generator().manual_seed(0), torch.zeros(2, 3, dtype=torch.int64)
    assert task.augment(batch, generator) is batch
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


def by_hand(outputs: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
    """Loss and accuracy, one position at a time."""
    losses, hits = [], []
    for rows, sequence in zip(outputs, targets.tolist(), strict=True):
        asked = [(row, target) for row, target in zip(rows, sequence, strict=True) if target != -100]
        losses.append(sum(-row.log_softmax(0)[target].item() for row, target in asked) / len(asked))
        hits.append(sum(int(row.argmax()) == target for row, target in asked) / len(asked))
    return losses, hits


@given(st.lists(st.lists(st.integers(-1, 6), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(0, 99))
def test_losses_and_hits_are_means_over_what_is_predicted(rows: list[list[int]], seed: int) -> None:
    task = text(TextConfig())
    targets = torch.tensor([[-100 if value < 0 else value for value in row] for row in rows])
    targets[:, 2] = 3
    outputs = torch.randn(*targets.shape, 7, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    losses, hits = by_hand(outputs.detach(), targets)
    assert task.losses(outputs, targets).tolist() == pytest.approx(losses, abs=1e-5)
    assert task.correct(outputs, targets).tolist() == pytest.approx(hits)
    task.losses(outputs, targets).sum().backward()
    assert outputs.grad is not None
    assert not outputs.grad[targets == -100].any()
    assert outputs.grad[targets != -100].any(-1).all()


def test_a_network_that_knows_nothing_has_the_random_guess_loss(task: TextTask) -> None:
    targets = task.load().test.targets[:4]
    losses = task.losses(torch.zeros(4, 128, 257), targets)
    assert losses.tolist() == pytest.approx([task.random_guess_loss] * 4)


def test_where_nothing_is_predicted_there_is_no_loss(task: TextTask) -> None:
    targets = torch.tensor([[-100, -100], [1, -100]])
    assert task.losses(torch.zeros(2, 2, 4), targets).isnan().tolist() == [True, False]
    assert task.correct(torch.zeros(2, 2, 4), targets).isnan().tolist() == [True, False]


@pytest.mark.parametrize("config", [TextConfig, TinyStoriesConfig])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_sizes_are_positive_integers(config: type, value: object) -> None:
    sizes = [name for name in config.__annotations__ if name.startswith(("train_", "validation_", "test_", "context"))]
    assert len(sizes) == 4
    for option in sizes:
        with pytest.raises((ValueError, TypeError), match=option):
            config(**{option: value})
    with pytest.raises((ValueError, TypeError), match="max_bytes"):
        TextConfig(max_bytes=value)  # type: ignore[arg-type]
