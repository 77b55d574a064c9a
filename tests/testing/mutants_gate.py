"""Wrong gates, one for each check."""

import random
from collections.abc import Callable
from math import isinf
from typing import Any

from attrs import evolve, frozen

from esper_core.api import GateLevel, GateResult, SeedEvidence
from esper_core.specs import GateSpec
from esper_testing import GateSubject


class Right:
    """A right G5; each mutant spoils one thing."""

    consecutive_passes: Any = 2

    def __init__(self, config: None = None) -> None:
        pass

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        contribution = evidence.contribution
        passed = contribution is not None and contribution.finite and contribution.lower_bound() > 0.01
        passed = passed and evidence.finite is True
        return GateResult(
            gate=GateLevel.G5, passed=passed, score=float(passed), reason="" if passed else "no sure contribution"
        )


class ReturnsBoolean(Right):
    def evaluate(self, evidence: SeedEvidence) -> Any:
        return super().evaluate(evidence).passed


class ScoresRatio(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return evolve(super().evaluate(evidence), score=evidence.update_ratio or 0.0)


class NamesAnotherLevel(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return evolve(super().evaluate(evidence), gate=GateLevel.G3)


class Counts(Right):
    def __init__(self, config: None = None) -> None:
        self.passes = 0

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        result = super().evaluate(evidence)
        self.passes += result.passed
        return evolve(result, passed=self.passes >= 3, reason="three passes are needed")


class NeverOpens(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return evolve(super().evaluate(evidence), passed=False, reason="never")


class TakesAbsenceForHealth(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        healthy = evolve(evidence, finite=evidence.finite is None or evidence.finite)
        return super().evaluate(healthy)


class PassesTheUnknown(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        known = evidence.contribution is not None
        return super().evaluate(evidence) if known else GateResult(gate=GateLevel.G5, passed=True)


class AsksForWhatIsBad(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        result, ratio = super().evaluate(evidence), evidence.update_ratio
        bad = ratio is None or ratio > 1.0
        return evolve(result, passed=result.passed and not bad, reason="too large")


class SaysNothing(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return evolve(super().evaluate(evidence), reason="")


class NeedsNoPass(Right):
    consecutive_passes = 0


class TrustsTheMean(Right):
    consecutive_passes = 1

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        contribution = evidence.contribution
        passed = contribution is not None and contribution.finite and contribution.mean > 0.0
        return GateResult(gate=GateLevel.G5, passed=passed, reason="no contribution")


class TrustsInfiniteErrors(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        contribution = evidence.contribution
        if contribution is not None and isinf(contribution.standard_error):
            contribution = evolve(contribution, standard_error=0.0)
        return super().evaluate(evolve(evidence, contribution=contribution))


class TakesContributionAway(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        result = super().evaluate(evidence)
        object.__setattr__(evidence, "contribution", None)
        return result


class TrustsOneSample(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        contribution = evidence.contribution
        if contribution is not None and contribution.count == 1:
            contribution = evolve(contribution, standard_error=0.0)
        return super().evaluate(evolve(evidence, contribution=contribution))


class PrefersBlueprint(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        if evidence.blueprint == "noop" and not super().evaluate(evidence).passed:
            return GateResult(gate=GateLevel.G5, passed=True, score=1.0)
        return super().evaluate(evidence)


class PrefersSlot(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        bonus = 0.0 if evidence.slot.startswith("block") else 0.5
        result = super().evaluate(evidence)
        return evolve(result, score=min(1.0, result.score + bonus))


class DrawsNowAndThen(Right):
    calls = 0

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        DrawsNowAndThen.calls += 1
        if DrawsNowAndThen.calls % 5000 == 0:
            random.random()
        return super().evaluate(evidence)


class TiresAfterMany(Right):
    def __init__(self, config: None = None) -> None:
        self.calls = 0

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        self.calls += 1
        return super().evaluate(evidence) if self.calls < 4000 else evolve(super().evaluate(evidence), score=0.5)


class Collects(Right):
    def __init__(self, config: None = None) -> None:
        self.seen: list[SeedEvidence] = []

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        self.seen.append(evidence)
        return super().evaluate(evidence)


class Hashes(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        result = super().evaluate(evidence)
        return evolve(result, score=hash(evidence.slot) % 7 / 7)


class TakesFromSet(Right):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        failed = {"a", "b", "c", "d", "e", "f", "g"}
        return evolve(super().evaluate(evidence), reason=" and ".join(failed))


@frozen(kw_only=True)
class Options:
    """Of gates, one that uses them and one that does not."""

    margin: float = 0.01
    passes: int = 2


class UsesOptions(Right):
    def __init__(self, config: Options) -> None:
        self.margin, self.consecutive_passes = config.margin, config.passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        contribution = evidence.contribution
        enough = contribution is not None and contribution.finite and contribution.lower_bound() > self.margin
        result = super().evaluate(evidence)
        return result if enough else evolve(result, passed=False, score=0.0, reason="no sure contribution")


class IgnoresMargin(UsesOptions):
    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return Right.evaluate(self, evidence)


def optional(factory: Callable[..., Any]) -> GateSubject:
    spec = GateSpec(
        name="mutant-g5", summary="Wrong.", level=GateLevel.G5, gate_set="mutant", factory=factory, config=Options
    )
    return GateSubject(spec=spec)


def subject(factory: Callable[..., Any], level: GateLevel = GateLevel.G5) -> GateSubject:
    return GateSubject(
        spec=GateSpec(name="mutant-g5", summary="Wrong.", level=level, gate_set="mutant", factory=factory)
    )


RIGHT = [subject(Right), optional(UsesOptions)]

MUTANTS = {
    "gate-total": [(subject(ReturnsBoolean), "the verdict is False"), (subject(ScoresRatio), "the score is")],
    "gate-level": [(subject(NamesAnotherLevel), "descriptor says G5, the verdict G3")],
    "gate-pure": [(subject(Counts), "the same evidence got different verdicts")],
    "gate-opens": [(subject(NeverOpens), "the best evidence is refused: never")],
    "gate-missing-evidence": [
        (subject(PassesTheUnknown), "of which nothing was measured was passed"),
        (subject(TakesAbsenceForHealth), "whose finite was not measured"),
    ],
    "gate-nan-evidence": [(subject(AsksForWhatIsBad), "whose update_ratio is NaN")],
    "gate-reason": [(subject(SaysNothing), "a refusal without a reason")],
    "gate-consecutive-passes": [(subject(NeedsNoPass), "consecutive_passes is 0")],
    "gate-useless-seed": [(subject(TrustsTheMean), "without effect passes in")],
    "gate-thin-evidence": [
        (subject(TrustsInfiniteErrors), "whose contribution has an infinite error|contribution rests on"),
        (subject(TrustsOneSample), "whose contribution rests on one sample was passed"),
    ],
    "gate-names": [
        (subject(PrefersBlueprint), "blueprint noop get"),
        (subject(PrefersSlot), "slot z9, seed aa-17"),
    ],
    "component-input-untouched": [(subject(TakesContributionAway), "have changed")],
    "component-many-calls": [
        (subject(DrawsNowAndThen), "uses it changed random's global generator"),
        (subject(TiresAfterMany), "it does something else than in its first use"),
    ],
    "component-memory": [(subject(Collects), "bytes more with each use")],
    "component-processes": [
        (subject(Hashes), "in two processes"),
        (subject(TakesFromSet), "in two processes"),
    ],
    "component-options-used": [(optional(IgnoresMargin), "with margin = .* all is as with 0.01")],
}
