"""What a gate must be: a pure judgement that never passes on what was not measured."""

from collections.abc import Iterator
from math import isfinite, nan
from random import Random
from typing import Any

from attrs import evolve

from esper_core.leyline.evidence import GateResult, SeedEvidence
from esper_core.leyline.protocols import Gate
from esper_core.leyline.records import to_json
from esper_core.leyline.specs import GateSpec
from esper_core.leyline.stages import GateLevel
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.gate_care import CARE_CHECKS
from esper_testing.gate_subject import GateSubject
from esper_testing.samples import difference, minimal_evidence

CONTRACT = CheckLevel.CONTRACT

#: A value of each measured field that no seed should have.
BAD: dict[str, Any] = {
    "ready": False,
    "probe_error": "wrong shape",
    "group_in_place": False,
    "gradient_ratio": 0.0,
    "gradients_finite": False,
    "update_ratio": 1e9,
    "finite": False,
    "probe": difference(-10.0),
    "contribution": difference(-10.0),
    "host_gain": difference(-10.0),
}

#: The same fields where nothing was measured. Without a twin there is no `host_gain`, which is not a fault of the seed.
MISSING: dict[str, Any] = {
    "probe_error": None,
    "gradient_ratio": None,
    "gradients_finite": None,
    "update_ratio": None,
    "finite": None,
    "probe": None,
    "contribution": None,
}

NOT_FINITE: dict[str, Any] = {
    "gradient_ratio": nan,
    "update_ratio": nan,
    "probe": difference(nan, nan),
    "contribution": difference(nan, nan),
    "host_gain": difference(nan, nan),
}

#: Epochs in which a seed is judged, in one episode; and how many episodes are played.
LOOKS, EPISODES = 8, 400


@check("gate-total", GateSpec.kind, CONTRACT)
def total(subject: GateSubject) -> None:
    """Every evidence gets a well-formed verdict: its own level, a boolean, a score from 0 to 1, figures for the log.

    Also where nothing was measured, where a figure is not finite, and in a stage that it does not guard.
    """
    gate = subject.build()
    for evidence in subject.samples():
        result = gate.evaluate(evidence)
        if not isinstance(result, GateResult) or not isinstance(result.passed, bool):
            raise CheckFailure(
                f"the verdict is {result!r}",
                cause="a bare boolean, or a comparison that gives a tensor or NumPy's own boolean",
                fix="return GateResult(gate=..., passed=bool(...), reason=...)",
            )
        if not (isfinite(result.score) and 0.0 <= result.score <= 1.0):
            raise CheckFailure(
                f"the score is {result.score}",
                cause="a ratio or difference that is not limited, or that was not measured",
                fix="map it to 0 to 1, and give 0 where it is not known",
            )
        to_json(result)


@check("gate-level", GateSpec.kind, CONTRACT)
def level(subject: GateSubject) -> None:
    """Its verdicts name the level that its descriptor declares."""
    result = subject.build().evaluate(subject.good)
    if result.gate is not subject.spec.level:
        raise CheckFailure(
            f"the descriptor says {subject.spec.level}, the verdict {result.gate}",
            cause="a factory that was copied from another gate",
            fix="name the right factory in the descriptor, or the right level in the verdict",
        )


@check("gate-pure", GateSpec.kind, CONTRACT)
def pure(subject: GateSubject) -> None:
    """The verdict follows from the evidence alone: not from earlier evidence, time or chance."""
    gate, samples = subject.build(), subject.samples()
    first = [to_json(gate.evaluate(evidence)) for evidence in samples]
    again = [to_json(gate.evaluate(evidence)) for evidence in reversed(samples)][::-1]
    fresh = [to_json(subject.build().evaluate(evidence)) for evidence in samples]
    for one, two, three in zip(first, again, fresh, strict=True):
        if not one == two == three:
            raise CheckFailure(
                f"the same evidence got different verdicts: {one} and {two if two != one else three}",
                cause="a counter or a history in the gate, or a random number",
                fix="judge this evidence only; Kasmina counts passes in a row (consecutive_passes)",
            )


@check("gate-opens", GateSpec.kind, CONTRACT)
def opens(subject: GateSubject) -> None:
    """There is evidence on which the gate passes; the subject's `good` evidence is as good as it gets."""
    result = subject.build().evaluate(subject.good)
    if not result.passed:
        raise CheckFailure(
            f"the best evidence is refused: {result.reason or 'no reason given'}",
            cause="a condition the wrong way round, or a threshold that no seed can meet",
            fix="try it on the evidence of a run; if it is right, give the subject evidence of your own (`good`)",
        )


@check("gate-missing-evidence", GateSpec.kind, CONTRACT)
def missing_evidence(subject: GateSubject) -> None:
    """What was not measured never passes.

    Nothing known at all is refused; and if a bad value of a figure is refused, so is its absence.
    """
    gate = subject.build()
    stage = subject.good.stage
    if gate.evaluate(minimal_evidence(stage)).passed:
        raise _passed("a seed of which nothing was measured")
    for name in _that_matter(gate, subject.good):
        if name in MISSING and gate.evaluate(evolve(subject.good, **{name: MISSING[name]})).passed:
            raise _passed(f"a seed whose {name} was not measured, though a bad one is refused")


@check("gate-nan-evidence", GateSpec.kind, CONTRACT)
def nan_evidence(subject: GateSubject) -> None:
    """A figure that is not a number never passes, if a bad value of it does not: every comparison with NaN is False."""
    gate = subject.build()
    for name in _that_matter(gate, subject.good):
        if name in NOT_FINITE and gate.evaluate(evolve(subject.good, **{name: NOT_FINITE[name]})).passed:
            raise _passed(f"a seed whose {name} is NaN, though a bad one is refused")


def _that_matter(gate: Gate, good: SeedEvidence) -> Iterator[str]:
    """Yield the fields of which a bad value is refused, but the good one is not."""
    if gate.evaluate(good).passed:
        yield from (name for name, bad in BAD.items() if not gate.evaluate(evolve(good, **{name: bad})).passed)


def _passed(what: str) -> CheckFailure:
    return CheckFailure(
        f"{what} was passed",
        cause="a default in place of a missing figure (`x or 0.0`), or a test for what is bad (`if x < limit: refuse`)",
        fix="ask for what is good: measured, finite, and within the limit",
    )


@check("gate-reason", GateSpec.kind, CONTRACT)
def reason(subject: GateSubject) -> None:
    """A refusal says why, in words: people read it in tables and logs."""
    gate = subject.build()
    for evidence in subject.samples():
        result = gate.evaluate(evidence)
        if not result.passed and not result.reason.strip():
            raise CheckFailure(
                "a refusal without a reason",
                cause="a verdict that is built where the conditions are no longer known",
                fix="name the condition that failed, with the figure and the limit",
            )


@check("gate-consecutive-passes", GateSpec.kind, CONTRACT)
def consecutive_passes(subject: GateSubject) -> None:
    """`consecutive_passes` is a whole number, at least 1, and always the same."""
    gate = subject.build()
    before = gate.consecutive_passes
    gate.evaluate(subject.good)
    if isinstance(before, bool) or not isinstance(before, int) or before < 1 or gate.consecutive_passes != before:
        raise CheckFailure(
            f"consecutive_passes is {before!r}, and {gate.consecutive_passes!r} after a verdict",
            cause="a count that the gate keeps itself, or an option without a lower limit",
            fix="return a constant or an option of at least 1",
        )


def _judges_worth(spec: GateSpec) -> str | None:
    return None if spec.level is GateLevel.G5 else f"only a G5 judges what a seed is worth; this is a {spec.level}"


@check("gate-useless-seed", GateSpec.kind, CONTRACT, only=_judges_worth)
def useless_seed(subject: GateSubject) -> None:
    """A G5 seldom passes a seed without effect, though it looks eight times in an episode.

    The contribution that is measured is noise around zero, of the size seen on a few hundred samples, new in every
    epoch; everything else is good.
    """
    gate, draw = subject.build(), Random(0)
    rate = sum(_passes_an_episode(gate, subject.good, draw) for _ in range(EPISODES)) / EPISODES
    if rate > subject.false_pass_limit:
        limit = 100 * subject.false_pass_limit
        raise CheckFailure(
            f"a seed without effect passes in {100 * rate:.0f} % of the episodes, over {limit:.0f} %",
            cause="a threshold on the mean alone, or one look's confidence for many looks",
            fix="test the lower confidence bound of `contribution`, and raise consecutive_passes",
        )


def _passes_an_episode(gate: Gate, good: SeedEvidence, draw: Random) -> bool:
    in_a_row = 0
    for _ in range(LOOKS):
        measured = difference(draw.gauss(0.0, 0.01), standard_error=0.01)
        in_a_row = in_a_row + 1 if gate.evaluate(evolve(good, contribution=measured)).passed else 0
        if in_a_row >= gate.consecutive_passes:
            return True
    return False


#: The checks of this module in order.
GATE_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(GateSubject, (*GATE_CHECKS, *CARE_CHECKS))
