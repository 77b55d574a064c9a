"""The governor: what it takes for an anomaly, and when a host is normal again."""

from array import array

import pytest

from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Op
from esper_core.leyline.evidence import EpochMetrics
from esper_core.tolaria.governor import Governor

NOTHING = EpochMetrics(loss=float("nan"), accuracy=float("nan"), samples=0)
NAN = float("nan")


def watch(*losses, guess=0.0, train=None):
    governor, modes = Governor(guess), []
    for index, loss in enumerate(losses):
        trained = NOTHING if train is None else EpochMetrics(loss=train[index], accuracy=NAN, samples=4)
        governor.observe(trained, EpochMetrics(loss=loss, accuracy=NAN, samples=4))
        modes.append(governor.mode.value)
    return governor, modes


def test_a_small_loss_that_wobbles_is_no_anomaly():
    _, modes = watch(1.0, 0.1, 7e-4, 4e-3, 5e-3, 6e-3, 7e-4)
    assert set(modes) == {"normal"}


def test_a_loss_that_is_large_against_the_first_one_is_one():
    _, modes = watch(1.0, 7e-4, 0.31, 0.31, 0.31)
    assert modes[1:] == ["normal", "conservative", "conservative", "stopped"]


@pytest.mark.parametrize(
    ("losses", "train"), [([1.0, NAN, 1.0, 1.0, 1.0], None), ([1.0] * 5, [1.0, float("inf"), 1, 1, 1])]
)
def test_a_host_that_is_trained_all_the_same_is_normal_again_after_three_normal_epochs(losses, train):
    governor, modes = watch(*losses, train=train)
    assert modes == ["normal", "stopped", "stopped", "stopped", "normal"]
    assert governor.reason == ""


def test_an_epoch_that_is_not_normal_begins_the_count_of_normal_ones_again():
    assert watch(1.0, NAN, 1.0, 1.0, 9.0, 1.0, 1.0, 1.0)[1][4:] == ["stopped", "stopped", "stopped", "normal"]


def test_samples_whose_loss_is_not_finite_are_named():
    governor = Governor(0.0)
    losses = array("f", [1.0, NAN, 1.0, float("inf")])
    governor.observe(NOTHING, EpochMetrics(loss=NAN, accuracy=NAN, samples=4, sample_losses=losses))
    assert governor.reason == "the validation loss is nan (2 of 4 samples: 1, 3)"


def test_what_has_passed_may_be_kept_while_the_governor_is_conservative():
    masks = ActionMasks(slots=("a",), blueprints=(), germinate={}, cull=frozenset(), fossilize=frozenset({"a"}))
    governor = watch(1.0, 7e-4, 0.31)[0]
    keep = Action(op=Op.FOSSILIZE, slot="a")
    assert governor.mode is GovernorMode.CONSERVATIVE
    assert governor.review(keep, masks).allowed
    governor.mode = GovernorMode.STOPPED
    assert not governor.review(keep, masks).allowed
