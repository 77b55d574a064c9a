"""Asking gates, and remembering how often in a row they have passed."""

from collections.abc import Mapping

from attrs import define, evolve

from esper_core.leyline.evidence import GateResult, SeedEvidence
from esper_core.leyline.protocols import Gate
from esper_core.leyline.stages import GateLevel, Stage

#: The gate in front of the next stage of a seed that is being measured.
NEXT_GATE: Mapping[Stage, GateLevel] = {
    Stage.TRAINING: GateLevel.G2,
    Stage.BLENDING: GateLevel.G3,
    Stage.PROBATIONARY: GateLevel.G5,
}


@define
class GateStreak:
    """How a seed stands before its next gate: the last verdict, and how many in a row were passes."""

    stage: Stage
    result: GateResult
    passes: int
    needed: int

    @property
    def passed(self) -> bool:
        """The gate has passed as often in a row as it must."""
        return self.passes >= self.needed

    @property
    def missing(self) -> str:
        """What the seed still waits for, in words; a verdict that has passed says only why it has."""
        gate = self.result.gate
        if not self.result.passed:
            return self.result.reason
        if not self.passed:
            return f"{gate} has passed {self.passes} of {self.needed} times in a row ({self.result.reason})"
        waits = "nobody has kept it" if self.stage is Stage.PROBATIONARY else "it was to train for longer"
        return f"{gate} has passed, and {waits} ({self.result.reason})"


class GateTracker:
    """The gates of one run and the streak of each slot's seed before its next one."""

    def __init__(self, gates: Mapping[GateLevel, Gate]) -> None:
        self._gates = dict(gates)
        self.streaks: dict[str, GateStreak] = {}

    def ask(self, level: GateLevel, evidence: SeedEvidence) -> GateResult:
        """Ask one gate. A level without a gate does not pass."""
        gate = self._gates.get(level)
        if gate is None:
            return GateResult(gate=level, passed=False, reason=f"the run has no gate {level}")
        return gate.evaluate(evidence)

    def judge(self, evidence: SeedEvidence) -> GateResult | None:
        """Ask the gate in front of the seed's next stage and keep its streak; None if there is no such gate."""
        level = NEXT_GATE.get(evidence.stage)
        if level is None:
            return None
        result = self.ask(level, evidence)
        if level is GateLevel.G5 and evidence.at_its_bound:
            # A fossil is not bounded: it would be another network than the one that was measured.
            why = f"its update was bounded on {100 * (evidence.bounded or 0):.1f} % of the activations"
            result = evolve(result, passed=False, reason=why)
        before = self.streaks.get(evidence.slot)
        streak = before.passes if before is not None and before.stage is evidence.stage else 0
        gate = self._gates.get(level)
        self.streaks[evidence.slot] = GateStreak(
            stage=evidence.stage,
            result=result,
            passes=streak + 1 if result.passed else 0,
            needed=gate.consecutive_passes if gate is not None else 1,
        )
        return result

    def streak(self, slot: str, stage: Stage) -> GateStreak | None:
        """The streak of the slot's seed, if it was judged in this stage."""
        streak = self.streaks.get(slot)
        return streak if streak is not None and streak.stage is stage else None

    def forget(self, slot: str) -> None:
        """A slot's seed is gone."""
        self.streaks.pop(slot, None)
