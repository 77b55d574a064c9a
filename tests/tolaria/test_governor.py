"""The governor: a loss that is not finite stops the host always, otherwise the strictest vote of evaluators decides."""

from array import array
from math import inf, nan

import pytest

from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Op
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.vital_signs import VitalSigns, Vote
from esper_core.tolaria.governor import Governor, GovernorRules, strictest
from esper_evaluators_standard.config import DivergenceConfig
from esper_evaluators_standard.divergence import Divergence

NORMAL, CONSERVATIVE, STOPPED = GovernorMode
NOTHING = EpochMetrics(loss=float("nan"), accuracy=float("nan"), samples=0)
NAN = float("nan")


def evidence(loss: float, *, train: float = 1.0, samples: int = 10, epoch: int = 0) -> Evidence:
    return Evidence(
        host="grown",
        epoch=epoch,
        train=EpochMetrics(loss=train, accuracy=0.5, samples=10),
        validation=EpochMetrics(loss=loss, accuracy=0.5, samples=samples),
    )


def modes(governor: Governor, losses: list[float]) -> list[GovernorMode]:
    found = []
    for epoch, loss in enumerate(losses):
        governor.observe(evidence(loss, epoch=epoch))
        found.append(governor.mode)
    return found


def standard(guess: float = 0.0) -> Governor:
    evaluators = {"divergence": Divergence(DivergenceConfig(guess_share=3.0))}
    return Governor(guess, evaluators, GovernorRules(recovery_epochs=3))


class Says:
    """Votes as it is told, and keeps what it was shown."""

    def __init__(self, *votes: Vote) -> None:
        self.votes = [*votes]
        self.shown: list[VitalSigns] = []

    def evaluate(self, signs: VitalSigns) -> Vote:
        self.shown.append(signs)
        return self.votes.pop(0) if self.votes else Vote()


class Fails:
    def evaluate(self, signs: VitalSigns) -> Vote:
        raise ZeroDivisionError("by nothing")


def vote(mode: GovernorMode, reason: str = "why") -> Vote:
    return Vote(mode=mode, reason=reason)


@pytest.mark.parametrize("evaluators", [{}, {"calm": Says()}, {"broken": Fails()}])
@pytest.mark.parametrize(("train", "validation"), [(nan, 1.0), (1.0, nan), (inf, 1.0), (1.0, -inf)])
def test_a_loss_that_is_not_finite_stops_the_host_whatever_evaluators_say(evaluators, train, validation):
    governor = Governor(0.0, evaluators)
    governor.observe(evidence(validation, train=train))
    assert governor.mode is STOPPED
    assert "loss is" in governor.reason
    governor.observe(evidence(1.0))
    assert governor.mode is STOPPED


def test_without_evaluators_a_finite_loss_is_normal():
    assert modes(Governor(0.0), [1.0, 1e9, 1e9, 1e9, 1e9]) == [NORMAL] * 5


def test_the_standard_one_is_careful_with_an_anomaly_and_stops_a_divergence():
    assert modes(standard(), [1.0, 3.1, 1.0, 1.0, 1.0, 3.1, 3.1, 3.1, 1.0]) == [
        NORMAL,
        *[CONSERVATIVE] * 3,
        NORMAL,
        *[CONSERVATIVE] * 2,
        *[STOPPED] * 2,
    ]
    assert modes(standard(guess=2.0), [1.0, 6.0]) == [NORMAL, NORMAL]
    assert modes(standard(guess=2.0), [1.0, 6.1]) == [NORMAL, CONSERVATIVE]


def test_nothing_measured_leaves_the_mode_as_it_is():
    governor = standard()
    modes(governor, [1.0, 9.0])
    for _ in range(5):
        governor.observe(evidence(nan, samples=0))
    assert governor.mode is CONSERVATIVE
    governor.observe(evidence(9.0))
    assert governor.reason.endswith("for 2 epochs")


def test_the_strictest_vote_decides_and_every_objection_is_told():
    careful, stop = vote(CONSERVATIVE, "too fast"), vote(STOPPED, "lost")
    assert strictest([Vote(), careful, stop, Vote(reason="all is well")]) == vote(STOPPED, "too fast; lost")
    assert strictest([stop, careful]).mode is STOPPED
    assert strictest([Vote(), careful]) == careful
    assert strictest([]) == Vote()


def test_each_evaluator_is_told_its_own_objections_and_what_was_reached():
    first, second = Says(vote(CONSERVATIVE), vote(CONSERVATIVE), Vote()), Says(Vote(), vote(CONSERVATIVE))
    governor = Governor(2.0, {"first": first, "second": second})
    modes(governor, [5.0, 3.0, 4.0, 6.0])
    assert [signs.objections for signs in first.shown] == [0, 1, 2, 0]
    assert [signs.objections for signs in second.shown] == [0, 0, 1, 0]
    assert [signs.best_loss for signs in first.shown] == [5.0, 3.0, 3.0, 3.0]
    assert {(signs.first_loss, signs.random_guess_loss, signs.evidence.host) for signs in first.shown} == {
        (5.0, 2.0, "grown")
    }
    assert [signs.evidence.epoch for signs in first.shown] == [0, 1, 2, 3]


def test_what_is_not_known_of_guessing_is_none():
    evaluator = Says()
    Governor(0.0, {"one": evaluator}).observe(evidence(1.0))
    assert evaluator.shown[0].random_guess_loss is None


@pytest.mark.parametrize(
    ("evaluator", "reason"),
    [(Fails(), "ZeroDivisionError: by nothing"), (Says(True), "gave True for a vote")],
)
def test_an_evaluator_that_fails_makes_the_governor_careful_and_ends_nothing(evaluator, reason):
    governor = Governor(0.0, {"odd": evaluator, "calm": Says()})
    governor.observe(evidence(1.0))
    assert governor.mode is CONSERVATIVE
    assert '"odd"' in governor.reason
    assert reason in governor.reason


def test_a_restored_governor_goes_on_with_its_memory():
    losses = [1.0, 3.1, 3.1, 3.1]
    whole = modes(standard(), losses)
    for epoch in range(len(losses)):
        governor, again = standard(), standard()
        modes(governor, losses[:epoch])
        record = governor.record()
        again.restore(record)
        governor.observe(evidence(9.0))
        assert modes(again, losses[epoch:]) == whole[epoch:], "the record is a copy"


def watch(*losses, guess=0.0, train=None):
    governor, modes = standard(guess), []
    for index, loss in enumerate(losses):
        trained = NOTHING if train is None else EpochMetrics(loss=train[index], accuracy=NAN, samples=4)
        measured = EpochMetrics(loss=loss, accuracy=NAN, samples=4)
        governor.observe(Evidence(host="grown", epoch=index, train=trained, validation=measured))
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


def test_a_milder_vote_is_followed_only_after_normal_epochs():
    told = Says(Vote(), vote(STOPPED), vote(CONSERVATIVE), Vote(), Vote())
    assert modes(Governor(0.0, {"told": told}), [1.0] * 5) == [NORMAL, STOPPED, STOPPED, STOPPED, NORMAL]
    governor = Governor(0.0, {"told": Says(vote(CONSERVATIVE))}, GovernorRules(recovery_epochs=1))
    assert modes(governor, [1.0] * 2) == [CONSERVATIVE, NORMAL]


def test_losses_of_normal_epochs_are_remembered_up_to_twenty():
    evaluator = Says(Vote(), vote(CONSERVATIVE))
    modes(Governor(0.0, {"told": evaluator, "calm": Says()}), [float(loss) for loss in range(24)])
    assert [signs.recent_losses for signs in evaluator.shown[:4]] == [(), (0.0,), (0.0,), (0.0, 2.0)]
    assert evaluator.shown[-1].recent_losses == tuple(range(3, 23))


@pytest.mark.parametrize("rule", [{"max_rollbacks": -1}, {"recovery_epochs": 0}, {"watch_epochs": -1}])
def test_a_rule_without_sense_is_refused(rule):
    with pytest.raises(ValueError, match=next(iter(rule))):
        GovernorRules(**rule)


def test_samples_whose_loss_is_not_finite_are_named():
    governor = Governor(0.0)
    losses = array("f", [1.0, NAN, 1.0, float("inf")])
    measured = EpochMetrics(loss=NAN, accuracy=NAN, samples=4, sample_losses=losses)
    governor.observe(Evidence(host="grown", epoch=0, train=NOTHING, validation=measured))
    assert governor.reason == "the validation loss is nan (2 of 4 samples: 1, 3)"


def test_what_has_passed_may_be_kept_while_the_governor_is_conservative():
    masks = ActionMasks(slots=("a",), blueprints=(), germinate={}, cull=frozenset(), fossilize=frozenset({"a"}))
    governor = watch(1.0, 7e-4, 0.31)[0]
    keep = Action(op=Op.FOSSILIZE, slot="a")
    assert governor.mode is GovernorMode.CONSERVATIVE
    assert governor.review(keep, masks).allowed
    governor.mode = GovernorMode.STOPPED
    assert not governor.review(keep, masks).allowed
