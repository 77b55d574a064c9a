"""The verdict on a run: is the grown network better on the test split than one that never grew?

The rule is in `docs/verdict.md`. There are two networks that never grew: the control, which had as many floating-point
operations, and the twin, which had as many epochs. Only the control tells whether growing paid. Two measures are
compared, accuracy and loss. A difference is clear if it is more than two standard errors from zero. Clear differences
decide: where they agree, growing paid or did not; where they contradict each other the result is mixed; without one
there is no clear difference. Nothing is judged where a figure is not finite, and growing cannot have paid where no seed
became part of the network.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from attrs import evolve, field, frozen

from esper_core.leyline.stages import Stage
from esper_runs.measures import (
    Direction,
    Measure,
    accuracy_measure,
    compute_of,
    direction_of,
    finite,
    is_not_finite,
    loss_measure,
    whole_number,
)
from esper_runs.result import CONTROL, TWIN, is_twin

#: A seed in one of these stages is not part of the network: it was taken out, or has not been blended in yet.
_OUTSIDE = {Stage.CULLED, Stage.EMBARGOED, Stage.RESETTING, Stage.DORMANT, Stage.GERMINATED, Stage.TRAINING}


class Judgement(StrEnum):
    """What can be said about growing in one run.

    Attributes:
        PAID: at least one measure is clearly better than that of the control of equal compute, none is clearly worse,
            and a seed was kept.
        DID_NOT_PAY: at least one measure is clearly worse than the control's, and none is clearly better.
        BETTER, WORSE: the same beside the twin of equal epochs, which does not tell whether growing paid.
        MIXED: one measure is clearly better and the other is clearly worse.
        NO_CLEAR_DIFFERENCE: the measures differ, by what may be chance.
        NO_DIFFERENCE: both networks lose the same on every sample.
        NOTHING_GREW: no seed became part of the network, and the network is not clearly worse.
        DIVERGED: loss or accuracy of the grown network is not a finite number.
        NO_COMPARISON: there is no network to compare with, it diverged, or several hosts grew.
    """

    PAID = "paid"
    DID_NOT_PAY = "did-not-pay"
    BETTER = "better-at-equal-epochs"
    WORSE = "worse-at-equal-epochs"
    MIXED = "mixed"
    NO_CLEAR_DIFFERENCE = "no-clear-difference"
    NO_DIFFERENCE = "no-difference"
    NOTHING_GREW = "nothing-grew"
    DIVERGED = "diverged"
    NO_COMPARISON = "no-comparison"


@frozen(kw_only=True)
class RunVerdict:
    """The verdict on a run, with the figures that it rests on.

    Attributes:
        judgement: the verdict.
        against: what it is compared with: ``control`` (equal compute) or ``twin`` (equal epochs).
        at_equal_epochs: the verdict beside the twin, where the control is compared with and there is a twin as well.
        outcome: how the run ended, as in its result.
        accuracy: test accuracy of the grown network minus that of the other, 0 to 1.
        loss: test loss of the other minus that of the grown network, in nats, paired by sample.
        answers: how many more (or fewer) right answers the difference of accuracies is; None if they are not counted.
        asked: how many answers the accuracy is a share of.
        unit: what they are: samples or positions.
        parameters: how many parameters the network has more than the other.
        spent: floating-point operations of the grown network in all, candidates, probes, evaluation and counterfactuals
            included; None if they are not known.
        trained: those of them that trained the network and its seeds.
        control_spent, control_trained: the same of the network that is compared with.
        control_epochs: how long that was trained.
        germinated: how many seeds were germinated; None if it is not known.
        kept: how many of them were part of the network at the end.
        live: how many of them were still on trial at the end.
        depends_on_seeds: without one of the kept seeds the loss is clearly higher.
        hosts: names of the hosts that grew.
        twin: there is a network to compare with.
        diverged: names of these hosts, and of what they are compared with, whose test loss or accuracy is not a finite
            number.
        not_finite: a difference is not finite, and no host's figures say why.
        rollbacks: how often each host, twin included, was rolled back; hosts that were not are left out.
    """

    judgement: Judgement
    against: str = TWIN
    at_equal_epochs: "RunVerdict | None" = None
    outcome: str = ""
    accuracy: Measure = field(factory=Measure)
    loss: Measure = field(factory=Measure)
    answers: int | None = None
    asked: int | None = None
    unit: str = ""
    parameters: int | None = None
    spent: float | None = None
    trained: float | None = None
    control_spent: float | None = None
    control_trained: float | None = None
    control_epochs: int | None = None
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
    if CONTROL not in hosts:
        return _verdict(result, TWIN, result.get("difference") or {})
    judged = _verdict(result, CONTROL, result.get("compute_difference") or {})
    if TWIN not in hosts:
        return judged
    return evolve(judged, at_equal_epochs=_verdict(result, TWIN, result.get("difference") or {}))


def _verdict(result: Mapping[str, Any], against: str, difference: Mapping[str, Any]) -> RunVerdict:
    """Judge a run beside one network that never grew."""
    everyone: Mapping[str, Mapping[str, Any]] = result.get("hosts") or {}
    hosts = {name: host for name, host in everyone.items() if name == against or not is_twin(name)}
    accuracy = accuracy_measure(difference, hosts, against)
    diverged = tuple(name for name, host in hosts.items() if _diverged(host))
    facts = RunVerdict(
        judgement=Judgement.NO_COMPARISON,
        against=against,
        outcome=str(result.get("outcome") or ""),
        accuracy=accuracy,
        loss=loss_measure(difference),
        parameters=whole_number(difference.get("parameters")),
        hosts=tuple(name for name in hosts if name != against),
        twin=against in hosts,
        diverged=diverged,
        not_finite=not diverged and _not_finite(difference),
        rollbacks={name: count for name, host in everyone.items() if (count := _rollbacks(host))},
        **_compute(hosts, against),
        **_answers(result, accuracy),
        **_seeds(result.get("seeds")),
    )
    return evolve(facts, judgement=_judgement(facts))


#: What a clear difference means beside each of the networks that never grew, for better and for worse.
_JUDGED = {
    CONTROL: (Judgement.PAID, Judgement.DID_NOT_PAY),
    TWIN: (Judgement.BETTER, Judgement.WORSE),
}


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
        good, bad = _JUDGED[facts.against]
        return good if better else bad
    # The same accuracy alone is not the same network.
    same = facts.loss.direction is Direction.EQUAL and directions <= {Direction.EQUAL, Direction.UNKNOWN}
    return Judgement.NO_DIFFERENCE if same else Judgement.NO_CLEAR_DIFFERENCE


def _compute(hosts: Mapping[str, Mapping[str, Any]], against: str) -> dict[str, Any]:
    """What was spent, where one host is compared with another."""
    grown = [host for name, host in hosts.items() if name != against]
    if len(grown) != 1 or against not in hosts:
        return {}
    (spent, trained), (control_spent, control_trained) = (compute_of(host) for host in (grown[0], hosts[against]))
    epochs = whole_number(hosts[against].get("epochs"))
    control = {"control_spent": control_spent, "control_trained": control_trained, "control_epochs": epochs}
    return {"spent": spent, "trained": trained, **control}


def _answers(result: Mapping[str, Any], accuracy: Measure) -> dict[str, Any]:
    share = result.get("test_share_of") or {}
    asked = whole_number(share.get("count"))
    if asked is None or accuracy.difference is None:
        return {}
    answers = whole_number(accuracy.difference * asked)
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
    mean, error = finite(ablation.get("mean")), finite(ablation.get("standard_error"))
    return mean is not None and direction_of(mean, error) is Direction.BETTER


def _rollbacks(host: Mapping[str, Any]) -> int:
    found = host.get("rollbacks")
    return len(found) if isinstance(found, list | tuple) else 0


def _diverged(host: Mapping[str, Any]) -> bool:
    return any(is_not_finite(host.get(key)) for key in ("test_loss", "test_accuracy"))


def _not_finite(difference: Mapping[str, Any]) -> bool:
    gain = difference.get("test_gain") or {}
    return any(map(is_not_finite, (difference.get("test_accuracy"), difference.get("test_loss"), gain.get("mean"))))
