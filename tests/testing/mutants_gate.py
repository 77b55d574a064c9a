"""Wrong gates, one for each check."""

from collections.abc import Callable
from typing import Any

from attrs import evolve

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


def subject(factory: Callable[..., Any], level: GateLevel = GateLevel.G5) -> GateSubject:
    return GateSubject(
        spec=GateSpec(name="mutant-g5", summary="Wrong.", level=level, gate_set="mutant", factory=factory)
    )


RIGHT = [subject(Right)]

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
}
