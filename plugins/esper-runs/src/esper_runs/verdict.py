"""The verdict on a run: is the grown network better than its twin on the test split?

The rule is in `docs/verdict.md`. Two measures are compared, accuracy and loss. A difference is clear if it is more than
two standard errors from zero. Clear differences decide: where they agree, growing paid or did not; where they
contradict each other the result is mixed; without one there is no clear difference. Nothing is judged where a figure is
not finite, and growing cannot have paid where no seed became part of the network.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from math import isfinite, sqrt
from typing import Any

from attrs import evolve, field, frozen

from esper_core.leyline.stages import Stage
from esper_runs.formatting import as_number
from esper_runs.result import TWIN

#: How many standard errors a difference must be away from zero to be clear.
STANDARD_ERRORS = 2

#: A seed in one of these stages is not part of the network: it was taken out, or has not been blended in yet.
_OUTSIDE = {Stage.CULLED, Stage.EMBARGOED, Stage.RESETTING, Stage.DORMANT, Stage.GERMINATED, Stage.TRAINING}

#: Two accuracies this close are the same: they are shares of some whole number of answers.
_SAME_ACCURACY = 1e-9


class Judgement(StrEnum):
    """What can be said about growing in one run.

    Attributes:
        PAID: at least one measure is clearly better than the twin's, none is clearly worse, and a seed was kept.
        DID_NOT_PAY: at least one measure is clearly worse than the twin's, and none is clearly better.
        MIXED: one measure is clearly better and the other is clearly worse.
        NO_CLEAR_DIFFERENCE: the measures differ, by what may be chance.
        NO_DIFFERENCE: both networks lose the same on every sample.
        NOTHING_GREW: no seed became part of the network, and the network is not clearly worse.
        DIVERGED: loss or accuracy of the grown network is not a finite number.
        NO_COMPARISON: there is no twin, it diverged, or several hosts grew.
    """

    PAID = "paid"
    DID_NOT_PAY = "did-not-pay"
    MIXED = "mixed"
    NO_CLEAR_DIFFERENCE = "no-clear-difference"
    NO_DIFFERENCE = "no-difference"
    NOTHING_GREW = "nothing-grew"
    DIVERGED = "diverged"
    NO_COMPARISON = "no-comparison"


class Direction(StrEnum):
    """How the grown network compares with its twin in one measure.

    Attributes:
        BETTER, WORSE: by more than two standard errors.
        EQUAL: exactly the same.
        UNCLEAR: they differ by what may be chance, or the standard error is not known.
        UNKNOWN: the difference was not measured or is not finite.
    """

    BETTER = "better"
    WORSE = "worse"
    EQUAL = "equal"
    UNCLEAR = "unclear"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class Measure:
    """One measure of the grown network beside its twin.

    Attributes:
        difference: positive where the grown network is better; None if it is not known or not finite.
        standard_error: of the difference; None if it is not known or not finite.
        direction: what follows from the two.
    """

    difference: float | None = None
    standard_error: float | None = None
    direction: Direction = Direction.UNKNOWN


@frozen(kw_only=True)
class RunVerdict:
    """The verdict on a run, with the figures that it rests on.

    Attributes:
        judgement: the verdict.
        outcome: how the run ended, as in its result.
        accuracy: test accuracy of the grown network minus that of the twin, 0 to 1.
        loss: test loss of the twin minus that of the grown network, in nats, paired by sample.
        answers: how many more (or fewer) right answers the difference of accuracies is; None if they are not counted.
        asked: how many answers the accuracy is a share of.
        unit: what they are: samples or positions.
        parameters: how many parameters the network has more than its twin.
        germinated: how many seeds were germinated; None if it is not known.
        kept: how many of them were part of the network at the end.
        live: how many of them were still on trial at the end.
        depends_on_seeds: without one of the kept seeds the loss is clearly higher.
        hosts: names of the hosts that grew.
        twin: there is a twin.
        diverged: names of the hosts, twin included, whose test loss or accuracy is not a finite number.
        not_finite: a difference is not finite, and no host's figures say why.
        rollbacks: how often each host, twin included, was rolled back; hosts that were not are left out.
    """

    judgement: Judgement
    outcome: str = ""
    accuracy: Measure = Measure()
    loss: Measure = Measure()
    answers: int | None = None
    asked: int | None = None
    unit: str = ""
    parameters: int | None = None
    germinated: int | None = None
    kept: int = 0
    live: int = 0
    depends_on_seeds: bool = False
    hosts: tuple[str, ...] = ()
    twin: bool = False
    diverged: tuple[str, ...] = ()
    not_finite: bool = False
    rollbacks: Mapping[str, int] = field(factory=dict)


def verdict(result: Mapping[str, Any]) -> RunVerdict:
    """Judge a run by its result, as in ``result.json``. Whatever is missing there is not known."""
    hosts: Mapping[str, Mapping[str, Any]] = result.get("hosts") or {}
    difference: Mapping[str, Any] = result.get("difference") or {}
    accuracy = _accuracy(difference, hosts)
    diverged = tuple(name for name, host in hosts.items() if _diverged(host))
    facts = RunVerdict(
        judgement=Judgement.NO_COMPARISON,
        outcome=str(result.get("outcome") or ""),
        accuracy=accuracy,
        loss=_loss(difference),
        parameters=_whole(difference.get("parameters")),
        hosts=tuple(name for name in hosts if name != TWIN),
        twin=TWIN in hosts,
        diverged=diverged,
        not_finite=not diverged and _not_finite(difference),
        rollbacks={name: count for name, host in hosts.items() if (count := _rollbacks(host))},
        **_answers(result, accuracy),
        **_seeds(result.get("seeds")),
    )
    return evolve(facts, judgement=_judgement(facts))


def _judgement(facts: RunVerdict) -> Judgement:
    if facts.hosts and set(facts.hosts) <= set(facts.diverged):
        return Judgement.DIVERGED
    directions = {facts.accuracy.direction, facts.loss.direction}
    if facts.diverged or facts.not_finite or directions == {Direction.UNKNOWN}:
        return Judgement.NO_COMPARISON
    better, worse = Direction.BETTER in directions, Direction.WORSE in directions
    if facts.germinated == 0 or (facts.germinated is not None and facts.kept == 0 and not worse):
        return Judgement.NOTHING_GREW
    if better and worse:
        return Judgement.MIXED
    if better or worse:
        return Judgement.PAID if better else Judgement.DID_NOT_PAY
    # The same accuracy alone is not the same network.
    same = facts.loss.direction is Direction.EQUAL and directions <= {Direction.EQUAL, Direction.UNKNOWN}
    return Judgement.NO_DIFFERENCE if same else Judgement.NO_CLEAR_DIFFERENCE


def _accuracy(difference: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]]) -> Measure:
    gain = _finite(difference.get("test_accuracy"))
    if gain is None:
        return Measure()
    # Which answers both networks got right is not recorded: the error is that of two independent samples, which is
    # larger than that of a paired difference. Answers within one sample are no independent ones; a sample counts once.
    error = None
    if len(hosts) == 2 and TWIN in hosts:
        shares = [_finite(host.get("test_accuracy")) for host in hosts.values()]
        samples = [_finite(host.get("test_samples")) for host in hosts.values()]
        known = [s for s in shares if s is not None and 0 <= s <= 1]
        counted = [n for n in samples if n is not None and n >= 1]
        if len(known) == len(counted) == 2:
            error = sqrt(sum(share * (1 - share) for share in known) / min(counted))
    if abs(gain) < _SAME_ACCURACY:
        return Measure(difference=0.0, standard_error=error, direction=Direction.EQUAL)
    return Measure(difference=gain, standard_error=error, direction=_direction(gain, error))


def _loss(difference: Mapping[str, Any]) -> Measure:
    gain = difference.get("test_gain") or {}
    mean, error = _finite(gain.get("mean")), _finite(gain.get("standard_error"))
    if mean is None:
        return Measure()
    if error is not None and error < 0:
        error = None
    if mean == error == 0:
        return Measure(difference=0.0, standard_error=0.0, direction=Direction.EQUAL)
    return Measure(difference=mean, standard_error=error, direction=_direction(mean, error))


def _direction(difference: float, error: float | None) -> Direction:
    if error is None or not abs(difference) > STANDARD_ERRORS * error:
        return Direction.UNCLEAR
    return Direction.BETTER if difference > 0 else Direction.WORSE


def _answers(result: Mapping[str, Any], accuracy: Measure) -> dict[str, Any]:
    share = result.get("test_share_of") or {}
    asked = _whole(share.get("count"))
    if asked is None or accuracy.difference is None:
        return {}
    answers = _whole(accuracy.difference * asked)
    return {"answers": answers, "asked": asked, "unit": str(share.get("unit") or "answers")}


def _seeds(seeds: Iterable[Mapping[str, Any]] | None) -> dict[str, Any]:
    if seeds is None:
        return {}
    seeds = list(seeds)
    stages = [_stage(seed) for seed in seeds]
    kept = [seed for seed, stage in zip(seeds, stages, strict=True) if stage not in _OUTSIDE]
    return {
        "germinated": len(seeds),
        "kept": len(kept),
        "live": sum(stage is not None and stage.live for stage in stages),
        "depends_on_seeds": any(_depended_on(seed) for seed in kept),
    }


def _stage(seed: Mapping[str, Any]) -> Stage | None:
    name = seed.get("final_stage")
    return Stage.__members__.get(str(name)) if name is not None else Stage.CULLED


def _depended_on(seed: Mapping[str, Any]) -> bool:
    ablation = seed.get("ablation") or {}
    mean, error = _finite(ablation.get("mean")), _finite(ablation.get("standard_error"))
    return mean is not None and _direction(mean, error) is Direction.BETTER


def _rollbacks(host: Mapping[str, Any]) -> int:
    found = host.get("rollbacks")
    return len(found) if isinstance(found, list | tuple) else 0


def _diverged(host: Mapping[str, Any]) -> bool:
    return any(_is_not_finite(host.get(key)) for key in ("test_loss", "test_accuracy"))


def _not_finite(difference: Mapping[str, Any]) -> bool:
    gain = difference.get("test_gain") or {}
    return any(map(_is_not_finite, (difference.get("test_accuracy"), difference.get("test_loss"), gain.get("mean"))))


def _is_not_finite(value: Any) -> bool:
    number = as_number(value)
    return number is not None and not isfinite(number)


def _finite(value: Any) -> float | None:
    number = as_number(value)
    return number if number is not None and isfinite(number) else None


def _whole(value: Any) -> int | None:
    return None if (number := _finite(value)) is None else round(number)
