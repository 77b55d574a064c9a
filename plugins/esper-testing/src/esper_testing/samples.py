"""Made-up evidence of every shape, the same at every call: measured, missing, and not finite."""

from collections.abc import Sequence
from math import inf, nan
from random import Random
from typing import Any

from attrs import evolve

from esper_core.leyline.actions import Transition
from esper_core.leyline.evidence import EpochMetrics, Evidence, PairedDifference, SeedEvidence
from esper_core.leyline.stages import TRANSITIONS, Cause, Stage

_ODD_NUMBERS = (nan, inf, -inf, 0.0, -1.0, 1e30)


def difference(mean: float, standard_error: float = 1e-3, count: int = 400) -> PairedDifference:
    """Return a paired difference."""
    return PairedDifference(mean=mean, standard_error=standard_error, count=count)


def minimal_evidence(stage: Stage) -> SeedEvidence:
    """Return what is known of a seed of which nothing was measured."""
    return SeedEvidence(
        slot="block0", seed_id="block0-0", blueprint="conv-light", stage=stage, epochs_in_stage=0, age_epochs=0, alpha=0
    )


def good_evidence(stage: Stage) -> SeedEvidence:
    """Return what is known of a seed with which everything is as well as can be."""
    return evolve(
        minimal_evidence(stage),
        epochs_in_stage=20,
        age_epochs=40,
        alpha=1.0,
        parameters=100,
        ready=True,
        probe_error="",
        host_epochs=50,
        group_in_place=True,
        gradient_ratio=0.5,
        gradients_finite=True,
        update_ratio=0.2,
        finite=True,
        probe=difference(1.0, 1e-6),
        contribution=difference(1.0, 1e-6),
        ramp_done=True,
        settled_epochs=20,
        host_gain=difference(1.0, 1e-6),
    )


#: Values of each figure, from bad to good and beyond.
_SWEEPS: dict[str, tuple[float, ...]] = {
    "epochs_in_stage": (0, 1, 2, 3, 4, 5, 8, 13, 40),
    "age_epochs": (0, 1, 2, 3, 4, 5, 8, 13, 40),
    "host_epochs": (0, 1, 2, 3, 4, 5, 8, 13, 40),
    "settled_epochs": (0, 1, 2, 3, 4, 5, 8, 13, 40),
    "gradient_ratio": tuple(10.0 ** (power / 4) for power in range(-24, 9)),
    "update_ratio": tuple(10.0 ** (power / 4) for power in range(-24, 17)),
}
_COUNTS = (2, 5, 10, 20, 29, 31, 50, 100, 400, 10_000)


def with_figure(evidence: SeedEvidence, name: str, value: Any) -> SeedEvidence:
    """Return the evidence with another value of one figure."""
    return evolve(evidence, **{name: value})


def near_misses(good: SeedEvidence) -> list[SeedEvidence]:
    """Return the good evidence with one figure, or one difference, swept from bad to good in small steps."""
    swept = [with_figure(good, name, value) for name, values in _SWEEPS.items() for value in values]
    for name in ("probe", "contribution", "host_gain"):
        means = [0.0, *(sign * 10.0 ** (power / 4) for sign in (-1, 1) for power in range(-20, 5))]
        swept += [
            with_figure(good, name, difference(mean, abs(mean) / z)) for mean in means for z in (0.5, 1.0, 2.0, 4.0)
        ]
        swept += [with_figure(good, name, difference(1.0, count=count)) for count in _COUNTS]
    return swept


def seed_evidence(count: int, seed: int = 0) -> list[SeedEvidence]:
    """Return evidence of seeds: of every stage in turn, each figure measured, missing or not finite."""
    draw = Random(seed)
    return [_seed(draw, list(Stage)[index % len(Stage)]) for index in range(count)]


def host_evidence(count: int, seed: int = 0) -> list[Evidence]:
    """Return evidence of hosts with 0 to 3 seeds, with losses of any size, some of them not finite."""
    draw = Random(seed)
    return [
        Evidence(
            host="grown",
            epoch=epoch,
            train=_metrics(draw),
            validation=_metrics(draw),
            seeds=tuple(evolve(_seed(draw, draw.choice(list(Stage))), slot=f"block{i}") for i in range(epoch % 4)),
            parameters=draw.choice((0, 100, 10**9)),
            host_parameters=draw.choice((0, 100, 10**6)),
            forward_flops=draw.choice((None, 0, 10**9)),
            learning_rate=draw.choice((None, 0.0, 0.1)),
        )
        for epoch in range(count)
    ]


def transitions(seed: int = 0) -> Sequence[Transition]:
    """Return some of the transitions that exist, in a random order."""
    draw = Random(seed)
    chosen = draw.sample(list(TRANSITIONS), draw.randrange(len(TRANSITIONS)))
    return [
        Transition(
            slot=f"block{index}",
            seed_id=f"block{index}-0",
            blueprint="conv-light",
            source=source,
            target=target,
            epoch=index,
            epochs_in_source=draw.randrange(9),
            cause=draw.choice(list(Cause)),
        )
        for index, (source, target) in enumerate(chosen)
    ]


def _seed(draw: Random, stage: Stage) -> SeedEvidence:
    return SeedEvidence(
        slot="block0",
        seed_id="block0-0",
        blueprint="conv-light",
        stage=stage,
        epochs_in_stage=draw.randrange(9),
        age_epochs=draw.randrange(30),
        alpha=draw.random(),
        parameters=draw.choice((0, 1, 10**8)),
        ready=draw.random() < 0.8,
        source_error=draw.choice((None, None, "", "no kernel")),
        probe_error=draw.choice((None, "", "", "wrong shape")),
        host_epochs=draw.randrange(30),
        group_in_place=draw.random() < 0.8,
        gradient_ratio=_figure(draw),
        gradients_finite=draw.choice((None, True, True, False)),
        update_ratio=_figure(draw),
        finite=draw.choice((None, True, True, False)),
        probe=_difference(draw),
        contribution=_difference(draw),
        ramp_done=draw.random() < 0.6,
        settled_epochs=draw.randrange(9),
        host_gain=_difference(draw),
    )


def _figure(draw: Random) -> float | None:
    return draw.choice((None, draw.choice(_ODD_NUMBERS), draw.random(), draw.random()))


def _difference(draw: Random) -> PairedDifference | None:
    mean = draw.choice((draw.gauss(0, 0.1), draw.choice(_ODD_NUMBERS)))
    error = draw.choice((0.01, 0.0, inf, nan))
    return draw.choice((None, difference(mean, error, count=draw.choice((1, 2, 400)))))


def _metrics(draw: Random) -> EpochMetrics:
    loss = draw.choice((draw.expovariate(1.0), draw.choice(_ODD_NUMBERS)))
    return EpochMetrics(loss=loss, accuracy=draw.random(), samples=draw.choice((1, 400)))
