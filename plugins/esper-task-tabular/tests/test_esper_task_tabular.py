"""The task `diabetes`: its data, its loss, and that there is no accuracy."""

import json
from importlib.resources import files

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes

from esper_core.api import EsperError, TargetKind, TaskKind
from esper_core.leyline.records import to_json
from esper_task_tabular import diabetes as module
from esper_task_tabular.diabetes import diabetes
from esper_task_tabular.plugin import esper_tasks


@pytest.fixture(scope="module")
def task():
    return diabetes()


def joined(task):
    splits = task.load()
    parts = (splits.train, splits.validation, splits.test)
    return torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts])


def test_the_table_is_scikit_learns(task):
    original = load_diabetes(scaled=False)
    inputs, targets = joined(task)
    progression = task.target_mean + targets[:, 0].double() * task.target_deviation
    assert np.allclose(np.sort(progression.numpy()), np.sort(original.target), atol=1e-4)
    # Standardised by other rows, but linearly: every column is the original one up to two numbers.
    order, own_order = np.argsort(original.data[:, 2]), inputs[:, 2].argsort()
    slope, shift = np.polyfit(original.data[order, 2], inputs[own_order, 2].numpy(), 1)
    assert np.allclose(slope * original.data[order, 2] + shift, inputs[own_order, 2].numpy(), atol=1e-5)


def test_its_source_is_named_beside_it():
    source = (files("esper_task_tabular") / "data" / "SOURCE.txt").read_text()
    assert "Least Angle Regression" in source
    assert "The scikit-learn developers" in source


def test_splits_are_standardised_by_the_training_split(task):
    splits = task.load()
    assert [len(part.inputs) for part in (splits.train, splits.validation, splits.test)] == [265, 88, 89]
    assert (task.shape.kind, task.shape.targets) == (TaskKind.VECTORS, TargetKind.NUMBERS)
    for values in (splits.train.inputs, splits.train.targets):
        assert torch.allclose(values.mean(dim=0), torch.zeros(values.shape[1]), atol=1e-5)
        assert torch.allclose(values.std(dim=0, correction=0), torch.ones(values.shape[1]), atol=1e-5)
    assert not torch.allclose(splits.test.targets.mean(), torch.zeros(()), atol=1e-5)


def test_the_loss_is_half_the_squared_error_and_there_is_no_accuracy(task):
    outputs, targets = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[2.0], [1.0], [2.5]])
    assert task.losses(outputs, targets).tolist() == [2.0, 0.0, 0.125]
    assert task.correct(outputs, targets).isnan().tolist() == [True] * 3
    train = task.load().train
    assert task.losses(torch.zeros(265, 1), train.targets).mean().item() == pytest.approx(task.random_guess_loss)


def test_its_mean_follows_from_the_share_of_the_variance_that_is_explained(task):
    train = task.load().train
    weights = torch.linalg.lstsq(train.inputs, train.targets).solution
    outputs = train.inputs @ weights
    residual = (train.targets - outputs).square().sum() / train.targets.square().sum()
    assert task.losses(outputs, train.targets).mean().item() == pytest.approx(0.5 * residual.item(), rel=1e-5)


def test_the_identity_is_plain_data_about_this_table(task):
    assert json.loads(to_json(task.identity))["sha256"] == module._SHA256


def test_a_changed_table_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_SHA256", "0" * 64)
    with pytest.raises(EsperError) as raised:
        diabetes().load()
    assert raised.value.code == "E302"


def test_its_host_is_for_vectors():
    (spec,) = esper_tasks()
    assert (spec.name, spec.host) == ("diabetes", "mlp")
