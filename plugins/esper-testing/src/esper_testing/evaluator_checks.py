"""What an evaluator must be: a pure vote on what was measured, whatever was measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, nan
from typing import Any

from attrs import evolve, field, frozen

from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.evidence import Compute, EpochMetrics, Evidence
from esper_core.leyline.protocols import Evaluator
from esper_core.leyline.records import to_json
from esper_core.leyline.specs import EvaluatorSpec
from esper_core.leyline.stages import Stage
from esper_core.leyline.vital_signs import VitalSigns, Vote
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.evaluator_limits import HEALTHY_RUN, costly, near_limits
from esper_testing.renaming import renamed
from esper_testing.samples import good_evidence, host_evidence
from esper_testing.subject import Subject
from esper_testing.usage import Usage

CONTRACT = CheckLevel.CONTRACT


def healthy_signs() -> VitalSigns:
    """Return vital signs of a host that learns as it should, with one healthy seed."""
    return VitalSigns(
        evidence=Evidence(
            host="grown",
            epoch=9,
            train=EpochMetrics(loss=0.5, accuracy=0.8, samples=400, seconds=0.02),
            validation=EpochMetrics(loss=0.6, accuracy=0.75, samples=400, seconds=0.01),
            seeds=(good_evidence(Stage.BLENDING),),
            parameters=1_010,
            host_parameters=1_000,
            forward_flops=2_000,
            learning_rate=0.05,
            compute=Compute(training=10_000),
        ),
        first_loss=2.0,
        best_loss=0.6,
        random_guess_loss=2.3,
        recent_losses=(1.2, 0.9, 1.0, 0.7, 0.6),
        run=HEALTHY_RUN,
    )


def vital_signs(count: int) -> list[VitalSigns]:
    """Return vital signs of every shape: measured, missing, and not finite."""
    return [
        VitalSigns(
            evidence=evidence,
            first_loss=evidence.train.loss,
            best_loss=min(evidence.train.loss, evidence.validation.loss),
            random_guess_loss=(None, 2.3)[index % 2],
            objections=index % 5,
            recent_losses=((), (1.1, 0.9), (0.8, 1e3, 0.7))[index % 3],
            watched=index % 4 == 3,
            run=(None, {}, HEALTHY_RUN, dict.fromkeys(HEALTHY_RUN, nan))[index // 2 % 4],
        )
        for index, evidence in enumerate(host_evidence(count))
    ]


@frozen(kw_only=True)
class EvaluatorSubject(Subject[EvaluatorSpec]):
    """What the evaluator checks look at.

    Attributes:
        healthy: vital signs to which the evaluator does not object.
    """

    healthy: VitalSigns = field(factory=healthy_signs)

    def build(self) -> Evaluator:
        """Return a new evaluator."""
        evaluator: Evaluator = self.factory(self.config)
        return evaluator

    def build_any(self) -> None:
        """Build one evaluator."""
        self.build()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Vote on vital signs of all kinds."""
        evaluator, samples = self.build(), self.samples()[::4]
        yield Usage(use=lambda: [evaluator.evaluate(signs) for signs in samples], handed=samples)

    def fingerprint(self) -> Any:
        """Return its votes on vital signs of all kinds, and on some that are less and less well."""
        evaluator = self.build()
        return [
            evaluator.evaluate(signs) for signs in (*self.samples(), *near_limits(self.healthy), *costly(self.healthy))
        ]

    def samples(self) -> list[VitalSigns]:
        """Vital signs of all kinds, and healthy ones in which one figure is spoiled."""
        return [self.healthy, *vital_signs(200), *(it for _, *both in spoiled(self.healthy) for it in both)]


#: A value of each figure that no host or seed should have; that it is NaN is spoiled too.
_BAD_METRICS: dict[str, float] = {"loss": 1e9, "accuracy": -1.0}
_BAD_SEED: dict[str, float] = {"gradient_ratio": 0.0, "update_ratio": 1e9}


def spoiled(healthy: VitalSigns) -> Iterator[tuple[str, VitalSigns, VitalSigns]]:
    """Yield for each figure its name, and the vital signs with a bad value of it, and with NaN."""
    for split in ("train", "validation"):
        for name, bad in _BAD_METRICS.items():
            metrics = getattr(healthy.evidence, split)
            one, other = (_with(healthy.evidence, split, _with(metrics, name, value)) for value in (bad, nan))
            yield f"{split}.{name}", evolve(healthy, evidence=one), evolve(healthy, evidence=other)
    for name, bad in _BAD_SEED.items():
        seeds = healthy.evidence.seeds
        worse = [tuple(_with(seed, name, value) for seed in seeds) for value in (bad, nan)]
        one, other = (evolve(healthy.evidence, seeds=spoilt) for spoilt in worse)
        yield f"a seed's {name}", evolve(healthy, evidence=one), evolve(healthy, evidence=other)
    for name in healthy.run or {}:
        one, other = (evolve(healthy, run={**(healthy.run or {}), name: value}) for value in (1e9, nan))
        yield f"the run's {name}", one, other


def _with(record: Any, name: str, value: Any) -> Any:
    return evolve(record, **{name: value})


@check("evaluator-total", EvaluatorSpec.kind, CONTRACT)
def total(subject: EvaluatorSubject) -> None:
    """Whatever was measured, there is a vote: without seeds, without figures, and where they are not finite."""
    evaluator = subject.build()
    for signs in subject.samples():
        try:
            vote: Any = evaluator.evaluate(signs)
        except Exception as error:
            raise CheckFailure(
                f"it raised {type(error).__name__}: {error}",
                cause="arithmetic with a figure that is None or not finite, or the first of no seeds",
                fix="vote on what was measured; a figure that is missing is not a reason to raise",
            ) from error
        if not isinstance(vote, Vote) or not isinstance(vote.mode, GovernorMode) or not isinstance(vote.reason, str):
            raise CheckFailure(
                f"the vote is {vote!r:.200}",
                cause="a bare mode or boolean, or nothing where all is well",
                fix="return Vote(mode=..., reason=...), and Vote() where there is nothing to object to",
            )


@check("evaluator-pure", EvaluatorSpec.kind, CONTRACT)
def pure(subject: EvaluatorSubject) -> None:
    """The vote follows from the vital signs alone: not from earlier ones, time or chance."""
    evaluator, samples = subject.build(), subject.samples()
    first = [to_json(evaluator.evaluate(signs)) for signs in samples]
    again = [to_json(evaluator.evaluate(signs)) for signs in reversed(samples)][::-1]
    fresh = [to_json(subject.build().evaluate(signs)) for signs in samples]
    for one, two, three in zip(first, again, fresh, strict=True):
        if not one == two == three:
            raise CheckFailure(
                f"the same vital signs got different votes: {one} and {two if two != one else three}",
                cause="a counter or the best value so far in the evaluator, or a random number",
                fix="use what the vital signs remember: best_loss, first_loss and objections",
            )


@check("evaluator-calm", EvaluatorSpec.kind, CONTRACT)
def calm(subject: EvaluatorSubject) -> None:
    """It does not object to a healthy host; the subject's `healthy` signs are as good as it gets."""
    vote = subject.build().evaluate(subject.healthy)
    if vote.mode is not GovernorMode.NORMAL:
        raise CheckFailure(
            f"the healthiest host is {vote.mode.value}: {vote.reason or 'no reason given'}",
            cause="a condition the wrong way round, or a threshold that no host can meet",
            fix="try it on the evidence of a run; if it is right, give the subject signs of your own (`healthy`)",
        )


@check("evaluator-nan", EvaluatorSpec.kind, CONTRACT)
def not_a_number(subject: EvaluatorSubject) -> None:
    """If a bad value of a figure is objected to, so is NaN: every comparison with NaN is False."""
    evaluator = subject.build()
    for name, bad, unknown in spoiled(subject.healthy):
        votes = [evaluator.evaluate(signs).mode for signs in (bad, unknown)]
        if votes[0] is not GovernorMode.NORMAL and votes[1] is GovernorMode.NORMAL:
            raise CheckFailure(
                f"a host is normal if {name} is NaN, though a bad value is objected to",
                cause="a test for what is bad (`if loss > limit: object`)",
                fix="ask for what is good: `if loss <= limit: return Vote()`",
            )


@check("evaluator-infinite", EvaluatorSpec.kind, CONTRACT)
def infinite(subject: EvaluatorSubject) -> None:
    """If a huge loss or update is objected to, so is an infinite one.

    An evaluator always passes that asks for what is good, for no limit is above infinity.
    """
    evaluator, evidence = subject.build(), subject.healthy.evidence
    for place in ("train", "validation", "update"):
        huge, endless = (evolve(subject.healthy, evidence=_with_size(evidence, place, size)) for size in (1e9, inf))
        votes = [evaluator.evaluate(signs).mode for signs in (huge, endless)]
        if votes[0] is not GovernorMode.NORMAL and votes[1] is GovernorMode.NORMAL:
            raise CheckFailure(
                f"a host is normal if its {place} is infinite, though 1e9 is objected to",
                cause="a quotient or a difference of two infinities, which is NaN and compares as False",
                fix="ask first whether the figure is finite: math.isfinite",
            )


def _with_size(evidence: Evidence, place: str, size: float) -> Evidence:
    if place == "update":
        return evolve(evidence, seeds=tuple(evolve(seed, update_ratio=size) for seed in evidence.seeds))
    changed: Evidence = _with(evidence, place, evolve(getattr(evidence, place), loss=size))
    return changed


@check("evaluator-names", EvaluatorSpec.kind, CONTRACT)
def names(subject: EvaluatorSubject) -> None:
    """The vote follows from figures: under other names of host, slots, seeds and blueprints the mode is the same.

    The twin is governed like the grown network. Reasons may name what they are about; so an evaluator that judges what
    was measured always passes.
    """
    evaluator, others = subject.build(), {"conv-light": "mlp", "block0-0": "z-9", "grown": "twin", "block0": "z"}
    others |= {"block1": "y", "block2": "a"}
    for signs in [*subject.samples(), *near_limits(subject.healthy)]:
        one, two = (evaluator.evaluate(it).mode for it in (signs, renamed(signs, others)))
        if one is not two:
            raise CheckFailure(
                f"the mode is {one.value}, and {two.value} under other names of host, slots, seeds and blueprints",
                cause="a condition on the name of the host, or of a slot",
                fix="judge what was measured",
            )


@check("evaluator-watched", EvaluatorSpec.kind, CONTRACT)
def watched(subject: EvaluatorSubject) -> None:
    """While a host is watched after a structural change, a vote is no milder than it would be otherwise.

    An evaluator that does not look at `watched` always passes.
    """
    evaluator, strictness = subject.build(), [*GovernorMode].index
    for signs in [*subject.samples(), *near_limits(subject.healthy)]:
        mild, strict = (evaluator.evaluate(evolve(signs, watched=value)).mode for value in (False, True))
        if strictness(strict) < strictness(mild):
            raise CheckFailure(
                f"a host that is watched is {strict.value}, and {mild.value} if it is not",
                cause="patience with what a structural change may bring with it",
                fix="be as strict or stricter while `watched`: a change can be undone then",
            )


@check("evaluator-reason", EvaluatorSpec.kind, CONTRACT)
def reason(subject: EvaluatorSubject) -> None:
    """An objection says why, in words: it is the reason of every command that the governor denies from then on."""
    evaluator = subject.build()
    for signs in subject.samples():
        vote = evaluator.evaluate(signs)
        if vote.mode is not GovernorMode.NORMAL and not vote.reason.strip():
            raise CheckFailure(
                "an objection without a reason",
                cause="a vote that is built where the conditions are no longer known",
                fix="name the condition, with the figure and the limit",
            )


#: The checks of this module in order.
EVALUATOR_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(EvaluatorSubject, EVALUATOR_CHECKS)
