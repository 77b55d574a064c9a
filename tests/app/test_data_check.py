"""Data that cannot be trained on are refused with the place of what is wrong."""

import math

import pytest
import torch
from attrs import evolve

from esper_app.execution.data_check import checked
from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import DataShape, Split, Splits, TaskKind

SHAPE = DataShape(kind=TaskKind.VECTORS, input_shape=(3,), outputs=4)
NAMES = {"train": "training", "validation": "validation", "test": "test"}


def good(count=6):
    return Split(inputs=torch.randn(count, 3), targets=torch.arange(count) % 4)


def splits():
    return Splits(train=good(), validation=good(), test=good())


def with_value(tensor, index, value):
    changed = tensor.clone()
    changed[index] = value
    return changed


WRONG = {
    "no samples": (lambda s: Split(inputs=s.inputs[:0], targets=s.targets[:0]), "it has no samples"),
    "fewer targets": (lambda s: evolve(s, targets=s.targets[:5]), "6 inputs and 5 targets"),
    "nan": (
        lambda s: evolve(s, inputs=with_value(s.inputs, (4, 1), math.nan)),
        "not finite in 1 of 6 samples: 4",
    ),
    "inf": (lambda s: evolve(s, inputs=with_value(s.inputs, 2, math.inf)), "1 of 6 samples: 2"),
    "too large": (
        lambda s: evolve(s, targets=with_value(s.targets, 3, 4)),
        "classes are 0 to 3, in 1 of 6 samples: 3",
    ),
    "negative": (lambda s: evolve(s, targets=with_value(s.targets, 0, -1)), "a target is -1"),
    "ignored where nothing is": (lambda s: evolve(s, targets=with_value(s.targets, 0, -100)), "a target is -100"),
    "nan target": (
        lambda s: evolve(s, targets=with_value(s.targets.float(), 5, math.nan)),
        "in 1 of 6 samples: 5",
    ),
}


@pytest.mark.parametrize("split", NAMES)
@pytest.mark.parametrize("wrong", WRONG)
def test_each_split_is_looked_at(wrong, split):
    change, why = WRONG[wrong]
    given = evolve(splits(), **{split: change(getattr(splits(), split))})
    with pytest.raises(EsperError) as caught:
        checked("mine", given, SHAPE)
    assert caught.value.code == "E302"
    assert f'task "mine", {NAMES[split]} split' in caught.value.where
    assert why in caught.value.why
    assert caught.value.fix


def test_what_is_right_is_returned_as_it_is():
    given = splits()
    assert checked("mine", given, SHAPE) is given
    tokens = Split(inputs=torch.zeros(2, 5, dtype=torch.int64), targets=torch.tensor([[-100, 0, 1, 2, 3]] * 2))
    text = Splits(train=tokens, validation=tokens, test=tokens)
    assert checked("mine", text, DataShape(kind=TaskKind.TOKENS, input_shape=(5,), outputs=4)) is text
