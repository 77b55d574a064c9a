"""What is known of a run before it begins: the same as what the run counts."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from esper_app.api import execute, load_plugins, prospects, resolve_run
from esper_app.execution.prospects import constant_answer
from esper_core.api import DataShape, Split, Splits, TaskKind


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


def resolved(plugins, **settings):
    quiet = {"twin": "none", "epochs": 2, "policy.name": "null", "sinks.names": [], "checkpoints.every": 0}
    return resolve_run("digits", plugins, settings={**quiet, **settings})


def test_a_host_costs_what_its_run_counts(plugins, tmp_path):
    found = execute(resolved(plugins, runs=str(tmp_path)), plugins).result["hosts"]["grown"]
    (known,) = prospects([resolved(plugins)], plugins)
    assert (known.parameters, known.forward_flops) == (found["parameters"], found["forward_flops"])
    assert found["epochs"] * known.epoch_flops == found["compute"]["total"]


def test_the_data_of_one_task_are_loaded_once(plugins, monkeypatch):
    loads = []
    from esper_task_vision.tasks import ImageTask

    monkeypatch.setattr(ImageTask, "load", lambda self, load=ImageTask.load: loads.append(self) or load(self))
    wider = {"host.widths": [6, 6]}
    small, large = prospects([resolved(plugins), resolved(plugins, **wider)], plugins)
    assert len(loads) == 1
    assert small.parameters < large.parameters
    assert small.constant_loss == large.constant_loss


def task(shape, losses, correct):
    return SimpleNamespace(shape=shape, losses=losses, correct=correct)


def test_the_constant_answer_to_classes_has_their_shares():
    train, test = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 1, 3, 0])
    shares = {label: (Counter(train.tolist())[label] + 1) / 10 for label in range(4)}
    known = task(
        DataShape(kind=TaskKind.IMAGES, input_shape=(1, 2, 2), outputs=4),
        lambda outputs, targets: torch.nn.functional.cross_entropy(outputs, targets, reduction="none"),
        lambda outputs, targets: (outputs.argmax(dim=1) == targets).float(),
    )
    split = {name: Split(inputs=torch.zeros(len(it), 1), targets=it) for name, it in (("a", train), ("b", test))}
    loss, accuracy = constant_answer(known, Splits(train=split["a"], validation=split["a"], test=split["b"]))
    assert loss == pytest.approx(-sum(math.log(shares[int(it)]) for it in test) / 4)
    assert accuracy == 0.5


@pytest.mark.parametrize(("name", "most"), [("text", 6.0), ("diabetes", 0.7)])
def test_every_kind_of_task_has_a_constant_answer(name, most, plugins):
    small = {"task.train_sequences": 8, "task.test_sequences": 8} if name == "text" else {}
    (known,) = prospects([resolve_run(name, plugins, settings={"policy.name": "null", **small})], plugins)
    assert 0 < known.constant_loss < most
    assert (known.constant_accuracy is None) == (name == "diabetes")
