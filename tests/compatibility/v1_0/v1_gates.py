"""A gate set as plugin API 1.0 has it."""

from functools import partial
from math import isfinite
from statistics import NormalDist

from attrs import field, frozen, validators

from esper_core.api import GateLevel, GateResult, SeedEvidence
from esper_core.hooks import hookimpl
from esper_core.specs import GateSpec

ESPER_API = "1.0"


@frozen(kw_only=True)
class Options:
    """Options of a gate."""

    passes: int = field(default=1, validator=validators.ge(1))


class Gate:
    def __init__(self, level: GateLevel, config: Options) -> None:
        self.level = level
        self.consecutive_passes = config.passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        passed = self._conditions(evidence)
        reason = "" if passed else "something is missing or bad"
        return GateResult(gate=self.level, passed=passed, score=float(passed), reason=reason)

    def _conditions(self, evidence: SeedEvidence) -> bool:
        if self.level is GateLevel.G0:
            return evidence.ready and evidence.probe_error == "" and evidence.finite is True
        if self.level is GateLevel.G1:
            return evidence.group_in_place
        ratio = evidence.update_ratio
        if evidence.finite is not True or ratio is None or not isfinite(ratio) or ratio > 100.0:
            return False
        if self.level is GateLevel.G2:
            return evidence.gradients_finite is True
        return evidence.ramp_done if self.level is GateLevel.G3 else self._is_worth_it(evidence)

    def _is_worth_it(self, evidence: SeedEvidence) -> bool:
        found = evidence.contribution
        return found is not None and found.finite and found.lower_bound(NormalDist().inv_cdf(0.999)) > -1.0


class Strict(Gate):
    def _is_worth_it(self, evidence: SeedEvidence) -> bool:
        found = evidence.contribution
        return found is not None and found.finite and found.lower_bound(NormalDist().inv_cdf(0.999)) > 0.0


@hookimpl
def esper_gates():
    for name, kind in (("v1", Gate), ("v1-strict", Strict)):
        for level in (GateLevel.G0, GateLevel.G1, GateLevel.G2, GateLevel.G3, GateLevel.G5):
            factory = partial(kind, level)
            summary = f"The {level.lower()} of this set."
            gate = f"{name}-{level.lower()}"
            yield GateSpec(name=gate, summary=summary, factory=factory, config=Options, level=level, gate_set=name)
