"""Training on other splits than the task's: it is the training of a run, and begins where it is told to."""

import pytest
import torch

from esper_app.api import execute, load_plugins, own_loop, resolve_run, scores, train_on
from esper_core.api import EsperError, Split, Splits

EPOCHS = 9


@pytest.fixture(scope="module")
def parts():
    plugins = load_plugins()
    settings = {"twin": "none", "epochs": EPOCHS, "sinks.names": [], "checkpoints.every": 0, "executor.name": "serial"}
    return plugins, lambda **more: resolve_run("digits", plugins, settings={**settings, **more})


@pytest.mark.slow
def test_on_the_tasks_own_splits_it_is_the_run(parts, tmp_path):
    plugins, resolved = parts
    configuration = resolved(runs=str(tmp_path))
    loop = own_loop(configuration, plugins)
    found, before = train_on(configuration.config, plugins, loop.splits), torch.get_num_threads()
    assert torch.get_num_threads() == before
    own = execute(configuration, plugins).result["hosts"]["grown"]
    assert found.final.seeds
    assert found.final.test.loss == own["test_loss"]
    assert (found.final.parameters, found.final.compute.total) == (own["parameters"], own["compute"]["total"])
    assert scores(loop.task, loop.splits.test, found.network).loss == pytest.approx(own["test_loss"], rel=1e-5)
    assert found.stopped is None


def test_it_begins_with_the_weights_that_are_given(parts):
    plugins, resolved = parts
    config = resolved(**{"policy.name": "null", "epochs": 1, "optimizer.lr": 1e-12}).config
    splits = own_loop(resolved(), plugins).splits
    begun = train_on(config, plugins, splits)
    given = {name: torch.full_like(it, 0.5) for name, it in begun.network.state_dict().items()}
    after = train_on(config, plugins, splits, given).network.state_dict()
    assert all(torch.allclose(after[name], it) for name, it in given.items())
    with pytest.raises(RuntimeError, match="Missing key"):
        train_on(config, plugins, splits, {})


def test_splits_that_cannot_be_trained_on_are_refused(parts):
    plugins, resolved = parts
    config, splits = resolved().config, own_loop(resolved(), plugins).splits
    none = Split(inputs=splits.train.inputs[:0], targets=splits.train.targets[:0])
    with pytest.raises(EsperError, match="no samples") as error:
        train_on(config, plugins, Splits(train=none, validation=splits.validation, test=splits.test))
    assert error.value.code == "E302"
