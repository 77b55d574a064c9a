"""What the standard evaluators object to, and what they leave alone."""

from math import inf, nan
from typing import Any

import pytest
from attrs import evolve

from esper_core.api import Compute, EpochMetrics, Evidence, GovernorMode, SeedEvidence, Stage, VitalSigns, Vote
from esper_evaluators_standard.config import (
    DivergenceConfig,
    LobotomyConfig,
    PolicyHealthConfig,
    ResourcesConfig,
    StabilityConfig,
)
from esper_evaluators_standard.divergence import Divergence
from esper_evaluators_standard.lobotomy import Lobotomy
from esper_evaluators_standard.not_finite import NotFinite
from esper_evaluators_standard.policy_health import PolicyHealth
from esper_evaluators_standard.resources import Resources
from esper_evaluators_standard.stability import Stability

NORMAL, CONSERVATIVE, STOPPED = GovernorMode


def signs(loss: float, *seeds: SeedEvidence, **more: Any) -> VitalSigns:
    evidence = Evidence(
        host="grown",
        epoch=5,
        train=EpochMetrics(loss=1.0, accuracy=0.5, samples=10),
        validation=EpochMetrics(loss=loss, accuracy=0.5, samples=10),
        seeds=seeds,
    )
    return VitalSigns(**{"first_loss": 2.0, "best_loss": 1.0, "random_guess_loss": 2.0, **more, "evidence": evidence})


def divergence(loss: float, *, options: dict[str, Any] | None = None, **more: Any) -> Vote:
    return Divergence(DivergenceConfig(**(options or {}))).evaluate(signs(loss, **more))


@pytest.mark.parametrize(
    ("loss", "best", "guess", "recent", "mode"),
    [
        # All three criteria: worse than guessing (2.0), than three times the best, than any rise so far.
        (2.01, 0.6, 2.0, (1.0, 0.6), CONSERVATIVE),
        # Each of them alone keeps the host normal.
        (1.99, 0.6, 2.0, (1.0, 0.6), NORMAL),
        (2.99, 1.0, 2.0, (1.5, 1.0), NORMAL),
        (2.5, 0.6, 2.0, (0.6, 1.0, 1.4, 1.8), NORMAL),
        (inf, 0.6, 2.0, (1.0, 0.6), CONSERVATIVE),
        (nan, 0.6, 2.0, (1.0, 0.6), CONSERVATIVE),
        # Without a loss of guessing the first loss (2.0) stands in for it.
        (0.61, 0.1, None, (0.2, 0.1), CONSERVATIVE),
        (0.59, 0.1, None, (0.2, 0.1), NORMAL),
        (9.0, 9.0, 2.0, (), NORMAL),
    ],
)
def test_an_anomaly_meets_three_criteria(
    loss: float, best: float, guess: float | None, recent: tuple[float, ...], mode: GovernorMode
) -> None:
    assert divergence(loss, best_loss=best, random_guess_loss=guess, recent_losses=recent).mode is mode


def test_the_third_anomaly_in_a_row_is_a_divergence() -> None:
    votes = [divergence(9.0, objections=objections) for objections in range(4)]
    assert [it.mode for it in votes] == [CONSERVATIVE] * 2 + [STOPPED] * 2
    assert votes[2].reason == "the validation loss is 9, above 3, for 3 epochs"


def test_while_the_host_is_watched_the_first_one_is() -> None:
    assert divergence(9.0, watched=True).mode is STOPPED
    assert divergence(9.0, watched=True, options={"watched_patience_epochs": 2}).mode is CONSERVATIVE
    assert divergence(1.0, watched=True) == Vote()


def test_a_normal_loss_is_normal_after_any_number_of_anomalies() -> None:
    assert divergence(1.0, objections=7) == Vote()


@pytest.mark.parametrize(
    ("options", "calm", "anomaly"),
    [
        ({"guess_share": 4.0}, 7.9, 8.1),
        ({"factor": 5.0}, 4.9, 5.1),
        ({"rises": 20.0}, 5.9, 6.1),
        ({"first_share": 4.0}, 7.9, 8.1),
    ],
)
def test_thresholds_are_options(options: dict[str, float], calm: float, anomaly: float) -> None:
    seen: dict[str, Any] = {"recent_losses": (1.0, 0.5, 1.0)}
    if "first_share" in options:
        seen["random_guess_loss"] = None
    assert divergence(calm, options=options, **seen) == Vote()
    assert divergence(anomaly, options=options, **seen).mode is CONSERVATIVE
    assert divergence(9.0, options={"patience_epochs": 1}).mode is STOPPED


def lobotomy(loss: float, *, options: dict[str, Any] | None = None, **more: Any) -> Vote:
    seen: dict[str, Any] = {"recent_losses": (0.9, 0.5, 0.4), **more}
    return Lobotomy(LobotomyConfig(**(options or {}))).evaluate(signs(loss, **seen))


@pytest.mark.parametrize(
    ("loss", "seen", "mode"),
    [
        (2.0, {}, STOPPED),
        (1.88, {}, STOPPED),
        (2.12, {}, STOPPED),
        # Not that of guessing: bad, perhaps, but no loss of everything.
        (1.8, {}, NORMAL),
        (2.2, {}, NORMAL),
        (nan, {}, NORMAL),
        # It had not been far below before: it learns, or overfits.
        (2.0, {"recent_losses": (1.9, 1.3, 1.2)}, NORMAL),
        (2.0, {"recent_losses": ()}, NORMAL),
        (2.0, {"random_guess_loss": None}, NORMAL),
    ],
)
def test_a_network_that_guesses_though_it_knew_more_is_lost(
    loss: float, seen: dict[str, Any], mode: GovernorMode
) -> None:
    assert lobotomy(loss, **seen).mode is mode


def test_its_thresholds_are_options_too() -> None:
    assert lobotomy(1.8, options={"tolerance": 0.11}).mode is STOPPED
    assert lobotomy(2.0, options={"far_share": 0.24}) == Vote()
    assert "2, that of random guessing (2), and was 0.5" in lobotomy(2.0).reason


def seed(**more: Any) -> SeedEvidence:
    base = {"slot": "a", "seed_id": "a-0", "blueprint": "mlp", "stage": Stage.BLENDING, "epochs_in_stage": 1}
    return SeedEvidence(**{**base, "age_epochs": 2, "alpha": 0.5, **more})


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"finite": False}, "the update or a parameter of the seed in a"),
        ({"gradients_finite": False}, "a gradient of the seed in a"),
        ({"update_ratio": nan}, "the update ratio of the seed in a"),
        ({"gradient_ratio": inf}, "the gradient ratio of the seed in a"),
    ],
)
def test_a_contributing_seed_that_is_not_finite_is_a_reason_for_caution(figures: dict[str, Any], words: str) -> None:
    vote = NotFinite(None).evaluate(signs(1.0, seed(**figures)))
    assert (vote.mode, vote.reason) == (CONSERVATIVE, f"not finite: {words}")
    assert NotFinite(None).evaluate(signs(1.0, seed(stage=Stage.TRAINING, **figures))) == Vote()


def test_what_was_not_measured_or_is_finite_is_no_reason() -> None:
    assert NotFinite(None).evaluate(signs(1.0)) == Vote()
    assert NotFinite(None).evaluate(signs(1.0, seed(), seed(finite=True, update_ratio=0.3))) == Vote()


def stability(loss: float, *seeds: SeedEvidence, seen: dict[str, Any] | None = None, **options: Any) -> Vote:
    shown = signs(loss, *seeds, **{"recent_losses": (1.0, 0.9, 0.8), **(seen or {})})
    return Stability(StabilityConfig(**options)).evaluate(shown)


@pytest.mark.parametrize(
    ("options", "loss", "seeds", "words"),
    [
        ({"loss_rise": 0.15}, 0.96, (), "the rise of the validation loss is 0.16, above 0.15"),
        ({"loss_rise": 0.15}, nan, (), "the rise of the validation loss is nan"),
        ({"loss_volatility": 0.1}, 1.8, (), "the volatility of the validation loss is 0.5"),
        ({"loss_volatility": 0.1}, nan, (), "the volatility of the validation loss is nan"),
        ({"gradient_ratio": 5.0}, 0.7, ({"gradient_ratio": 20.0},), "the gradient ratio of the seed in a is 20"),
        ({"gradient_ratio": 5.0}, 0.7, ({"gradient_ratio": nan},), "the gradient ratio of the seed in a is nan"),
        ({}, 0.7, ({"isolated": False},), "the seed in a is not isolated"),
        ({"known_share": 0.9}, 0.7, ({"update_ratio": 0.1},), "share of the seeds' figures that are known is 0.3333"),
    ],
)
def test_training_that_is_not_calm_is_a_reason_for_caution(
    options: dict[str, Any], loss: float, seeds: tuple[dict[str, Any], ...], words: str
) -> None:
    vote = stability(loss, *(seed(**it) for it in seeds), **options)
    assert vote.mode is CONSERVATIVE
    assert words in vote.reason


def test_training_that_is_calm_or_has_no_limit_is_no_reason() -> None:
    assert stability(nan) == Vote()
    assert stability(0.94, loss_rise=0.15, loss_volatility=0.2) == Vote()
    assert stability(0.7, seed(isolated=False), isolation=False) == Vote()
    assert stability(0.7, seed(gradient_ratio=4.9, update_ratio=0.1, contribution=None), known_share=0.6) == Vote()
    assert stability(0.7, seen={"recent_losses": ()}, loss_rise=0.1, loss_volatility=0.1) == Vote()


def test_a_loss_that_rises_at_a_learning_rate_of_zero_is_a_reason() -> None:
    shown = signs(0.9, recent_losses=(0.8,))
    stalled = evolve(shown, evidence=evolve(shown.evidence, learning_rate=0.0))
    assert (
        "learning rate is 0 and the validation loss has risen" in Stability(StabilityConfig()).evaluate(stalled).reason
    )
    assert Stability(StabilityConfig(learning_rate=False)).evaluate(stalled) == Vote()
    assert Stability(StabilityConfig()).evaluate(shown) == Vote()


def resources(run: dict[str, float] | None, *, seen: dict[str, Any] | None = None, **options: Any) -> Vote:
    shown = signs(1.0, run=run, **(seen or {}))
    taken = evolve(
        shown.evidence, parameters=150, host_parameters=100, forward_flops=70, compute=Compute(training=10**6)
    )
    return Resources(ResourcesConfig(**options)).evaluate(evolve(shown, evidence=taken))


WELL = {"memory share": 0.5, "processor share": 0.5}


@pytest.mark.parametrize(
    ("options", "run", "words"),
    [
        ({"growth_ratio": 0.4}, WELL, "the growth of parameters over the host's own is 0.5, above 0.4"),
        ({"forward_flops": 60}, WELL, "the number of operations of a forward pass is 70, above 60"),
        ({"total_flops": 1e5}, WELL, "the number of operations of the host so far is 1e+06"),
        ({}, {**WELL, "memory share": 0.96}, "the share of memory in use is 0.96, above 0.95"),
        ({}, {"processor share": 0.5}, "the share of memory in use is not known"),
        ({}, {**WELL, "memory share": nan}, "the share of memory in use is nan"),
        ({}, {**WELL, "device memory share": 0.99}, "the share of the device's memory in use is 0.99"),
        ({"processor_share": 0.4}, WELL, "the share of processors in use is 0.5"),
        ({}, None, "nothing is known of the run here"),
    ],
)
def test_taking_more_than_a_limit_is_a_reason_for_caution(
    options: dict[str, Any], run: dict[str, float] | None, words: str
) -> None:
    vote = resources(run, **options)
    assert vote.mode is CONSERVATIVE
    assert words in vote.reason


def test_taking_less_is_none_and_too_many_objections_stop_the_run() -> None:
    assert resources(WELL, growth_ratio=0.5, forward_flops=70, total_flops=1e6, processor_share=0.5) == Vote()
    votes = [resources({}, seen={"objections": count}, stop_after_epochs=3).mode for count in (0, 1, 2, 9)]
    assert votes == [CONSERVATIVE, CONSERVATIVE, STOPPED, STOPPED]
    assert resources({}, seen={"objections": 99}).mode is CONSERVATIVE


def health(run: dict[str, float] | None, **options: Any) -> Vote:
    return PolicyHealth(PolicyHealthConfig(**options)).evaluate(signs(1.0, run=run))


@pytest.mark.parametrize(
    ("options", "run", "words"),
    [
        ({"least_entropy": 0.1}, {"policy entropy": 0.05}, "the entropy of the policy's choice is 0.05, below 0.1"),
        ({}, {"policy entropy": nan}, "the entropy of the policy's choice is nan"),
        ({"most_value_error": 1.0}, {"value error": 1.5}, "the error of the policy's values is 1.5, above 1"),
        ({}, {"value error": inf}, "the error of the policy's values is inf"),
        ({"most_age_hours": 24}, {"policy age hours": 25.0}, "the age of the policy in hours is 25, above 24"),
        ({"most_decision_seconds": 0.018}, {"decision seconds": 0.02}, "the time of a decision in seconds is 0.02"),
        ({"known": ["value error"]}, {}, "the error of the policy's values is not known"),
        ({}, None, "nothing is known of the run here"),
    ],
)
def test_a_policy_that_is_not_well_is_a_reason_for_caution(
    options: dict[str, Any], run: dict[str, float] | None, words: str
) -> None:
    vote = health(run, **options)
    assert vote.mode is CONSERVATIVE
    assert words in vote.reason


def test_a_policy_that_is_well_or_does_not_say_what_it_thinks_is_none() -> None:
    limits = {"least_entropy": 0.1, "most_value_error": 1.0, "most_age_hours": 24, "most_decision_seconds": 0.018}
    well = {"policy entropy": 0.1, "value error": 1.0, "policy age hours": 24.0, "decision seconds": 0.018}
    assert health(well, **limits) == Vote()
    assert health({}, **limits) == Vote()


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (DivergenceConfig, {"factor": 1.0}),
        (DivergenceConfig, {"factor": nan}),
        (DivergenceConfig, {"guess_share": 0.0}),
        (DivergenceConfig, {"first_share": -1.0}),
        (DivergenceConfig, {"rises": -1.0}),
        (DivergenceConfig, {"patience_epochs": 0}),
        (DivergenceConfig, {"watched_patience_epochs": 0}),
        (LobotomyConfig, {"tolerance": 0.0}),
        (LobotomyConfig, {"far_share": 1.0}),
        (ResourcesConfig, {"growth_ratio": 0.0}),
        (ResourcesConfig, {"memory_share": 1.5}),
        (ResourcesConfig, {"stop_after_epochs": 0}),
        (PolicyHealthConfig, {"least_entropy": nan}),
        (PolicyHealthConfig, {"known": ("mood",)}),
        (StabilityConfig, {"known_share": 2.0}),
    ],
)
def test_a_threshold_without_sense_is_refused(cls: type, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        cls(**options)
