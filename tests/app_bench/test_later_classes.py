"""Classes that arrive later: what the trainer trains on, what it charges, and what is said of what is forgotten."""

from types import SimpleNamespace

import pytest
import torch
from attrs import evolve

from esper_app.api import PluginOptions
from esper_app_bench import later_classes
from esper_app_bench.growth.arms import GROWN, HOST
from esper_app_bench.growth.knowledge import knowledge_table
from esper_app_bench.growth.later import ARMS, LATER
from esper_app_bench.growth.measuring import Cell, TaskMeasured
from esper_app_bench.growth.tasks import BUDGETS
from esper_app_bench.later_classes import train
from esper_core.api import EsperError
from esper_runs.formatting import MISSING
from esper_studies import RunRequest, StudyRun
from esper_studies.requests import Resolver

TASK = next(it for it in BUDGETS["full"]() if it.old_classes is not None)

#: Operations of a sample's forward pass through the host of digits.
FORWARD = 8 * 8 * 9 * 4 * 2 + 4 * 4 * 9 * 4 * 4 * 2 + 4 * 10 * 2


@pytest.fixture(scope="module")
def resolve():
    return Resolver(PluginOptions())


def trained(resolve, learns, *, first_epochs=2, **settings):
    request = RunRequest.of("digits", {"policy.name": "null", "twin": "none", "seed": 3, "epochs": 2, **settings})
    told = {"learns": learns, "old_classes": 5, "first_epochs": first_epochs, "first_rate": 0.1}
    return train(resolve(request), told)


def test_what_is_not_trained_again_has_forgotten_nothing_and_cost_nothing(resolve):
    found = trained(resolve, None)
    known = found.further
    assert (known["old_loss"], known["told_accuracy"]) == (known["before_loss"], known["told_before_accuracy"])
    assert known["before_accuracy"] > 0.4
    assert known["new_accuracy"] == 0.0
    assert (found.flops, found.epochs) == (0, 0)


def test_what_learns_the_new_classes_alone_is_charged_for_them_alone_and_forgets(resolve):
    (left, new, together) = (trained(resolve, learns, epochs=10) for learns in (None, "new", "all"))
    digits = resolve(RunRequest.of("digits", {}))
    splits = later_classes.own_loop(digits.configuration, digits.plugins).splits
    train_new, validation_new = (int((it.targets >= 5).sum()) for it in (splits.train, splits.validation))
    assert new.flops == 10 * FORWARD * (3 * train_new + validation_new)
    assert together.flops == 10 * FORWARD * (3 * 1078 + 359)
    # All of them begin with the same network.
    assert len({it.further["before_loss"] for it in (left, new, together)}) == 1
    assert new.further["new_accuracy"] > left.further["new_accuracy"] == 0.0
    assert new.further["old_accuracy"] < 0.1 < 0.4 < left.further["old_accuracy"]
    assert together.further["old_accuracy"] > new.further["old_accuracy"]
    share = len(splits.test.targets[splits.test.targets >= 5]) / len(splits.test.targets)
    parts = share * new.further["new_loss"] + (1 - share) * new.further["old_loss"]
    assert new.test_loss == pytest.approx(parts, rel=1e-4)


@pytest.mark.slow
def test_a_host_that_grows_meanwhile_is_larger_and_what_it_took_is_counted(resolve):
    grown, host = (trained(resolve, "new", epochs=14, **{"policy.name": name}) for name in ("heuristic", "null"))
    assert grown.grown
    assert grown.parameters > host.parameters
    assert grown.flops > host.flops
    assert grown.further["before_loss"] == host.further["before_loss"]
    equal = trained(resolve, "new", epochs=1400, flops=float(grown.flops))
    assert 0 <= equal.flops - grown.flops < host.flops / 14


def test_a_network_that_is_told_the_old_classes_chooses_among_them():
    network = later_classes._Told(torch.nn.Identity(), 2)
    assert network(torch.tensor([[1.0, 2.0, 9.0]])).tolist() == [[1.0, 2.0]]


def test_targets_that_are_no_classes_are_refused():
    split = later_classes.Split(inputs=torch.zeros(3, 2), targets=torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(EsperError, match="no classes") as error:
        later_classes._classes(later_classes.Splits(train=split, validation=split, test=split), lambda it: it < 5)
    assert error.value.code == "E302"


def test_the_arms_ask_their_trainer_and_equal_compute_is_a_budget():
    anchor = SimpleNamespace(figures=SimpleNamespace(flops=10_001))
    place = SimpleNamespace(task=TASK, epochs=40, anchor=anchor)
    assert {arm.trainer for arm in ARMS} == {LATER}
    by_name = {arm.name: arm for arm in ARMS}
    assert by_name[HOST].settings(place)["flops"] == by_name["together"].settings(place)["flops"] == 10_001.0
    assert by_name[HOST].settings(SimpleNamespace(epochs=40, anchor=None)) == {"policy.name": "null", "epochs": 40}
    learns = {name: arm.told(place)["learns"] for name, arm in by_name.items()}
    assert learns == {"host-epochs": "new", GROWN: "new", HOST: "new", "nothing": None, "together": "all"}
    assert all(arm.told(place)["first_rate"] == 0.1 and arm.told(place)["old_classes"] == 5 for arm in ARMS)
    assert not TASK.tested


def test_a_table_says_what_is_known_and_by_how_much_growing_is_better():
    def cell(accuracy, failed=False):
        keys = ("new", "old", "told", "before", "told_before")
        further = {f"{key}_accuracy": accuracy for key in keys}
        result = None if failed else {"trainer": {"further": further}}
        return Cell(run=StudyRun(name="x", directory="/x", result=result), figures=None)

    cells = {
        GROWN: {0: cell(0.5), 1: cell(0.7), 2: cell(0.9)},
        HOST: {0: cell(0.4), 1: cell(0.4), 2: cell(0.0, failed=True)},
    }
    task = evolve(TASK, seeds=(0, 1, 2))
    measured = TaskMeasured(task=task, arms=ARMS, constant_loss=2.3, constant_accuracy=0.1, cells=cells)
    grown, host = knowledge_table(measured).rows
    assert grown[:2] == (GROWN, "70.0 %")
    assert host[:2] == (HOST, "40.0 %")
    assert (grown[6], host[6]) == ("3", "2")
    assert host[7].startswith("+20.0 points")
    assert grown[7:] == (MISSING, MISSING)
