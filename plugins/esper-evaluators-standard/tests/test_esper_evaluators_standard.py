"""What the standard evaluator calls an anomaly, and when it has seen enough."""

from math import inf, nan

import pytest

from esper_core.api import EpochMetrics, Evidence, GovernorMode, VitalSigns, Vote
from esper_evaluator_standard.config import LossAnomalyConfig
from esper_evaluator_standard.evaluator import LossAnomaly


def vote(loss: float, *, best: float = 1.0, guess: float | None = None, objections: int = 0, **options: float) -> Vote:
    signs = VitalSigns(
        evidence=Evidence(
            host="grown",
            epoch=5,
            train=EpochMetrics(loss=1.0, accuracy=0.5, samples=10),
            validation=EpochMetrics(loss=loss, accuracy=0.5, samples=10),
        ),
        first_loss=2.0,
        best_loss=best,
        random_guess_loss=guess,
        objections=objections,
    )
    return LossAnomaly(LossAnomalyConfig(**options)).evaluate(signs)


@pytest.mark.parametrize(
    ("loss", "guess", "mode"),
    [
        (3.0, None, GovernorMode.NORMAL),
        (3.01, None, GovernorMode.CONSERVATIVE),
        (6.0, 2.0, GovernorMode.NORMAL),
        (6.01, 2.0, GovernorMode.CONSERVATIVE),
        (3.01, 0.5, GovernorMode.CONSERVATIVE),
        (inf, None, GovernorMode.CONSERVATIVE),
        (nan, None, GovernorMode.CONSERVATIVE),
    ],
)
def test_an_anomaly_is_above_both_the_best_loss_and_guessing(
    loss: float, guess: float | None, mode: GovernorMode
) -> None:
    assert vote(loss, guess=guess).mode is mode


def test_a_small_loss_that_wobbles_is_measured_by_the_first_one() -> None:
    assert vote(0.6, best=1e-3) == Vote()
    assert vote(0.61, best=1e-3).mode is GovernorMode.CONSERVATIVE
    assert vote(0.61, best=1e-3, guess=1e-3).mode is GovernorMode.CONSERVATIVE
    assert vote(0.0031, best=1e-3, floor_share=0.0).mode is GovernorMode.CONSERVATIVE


def test_the_third_anomaly_in_a_row_is_a_divergence() -> None:
    votes = [vote(9.0, objections=objections) for objections in range(4)]
    assert [it.mode for it in votes] == [GovernorMode.CONSERVATIVE] * 2 + [GovernorMode.STOPPED] * 2
    assert votes[2].reason == "the validation loss is 9, above 3, for 3 epochs"


def test_a_normal_loss_is_normal_after_any_number_of_anomalies() -> None:
    assert vote(1.0, objections=7) == Vote()


def test_thresholds_are_options() -> None:
    assert vote(9.0, factor=9.0) == Vote()
    assert vote(9.0, patience_epochs=1).mode is GovernorMode.STOPPED


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"factor": nan}, {"patience_epochs": 0}])
def test_a_threshold_without_sense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        LossAnomalyConfig(**options)
