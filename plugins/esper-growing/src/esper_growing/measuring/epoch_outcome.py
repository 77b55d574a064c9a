"""What came of one epoch of a user's training."""

from math import isfinite

from attrs import frozen

from esper_core.leyline.actions import Transition, Verdict
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.learning import Decision


@frozen(kw_only=True)
class EpochOutcome:
    """What `GrowthHandle.epoch_end` saw and did.

    Attributes:
        evidence: what was measured.
        decision: what the policy decided for the next epoch; None after the last one.
        verdicts: the governor's answers, one for each of its actions.
        transitions: every change of a stage since the outcome before: the actions', and those that came by themselves.
    """

    evidence: Evidence
    decision: Decision | None
    verdicts: tuple[Verdict, ...]
    transitions: tuple[Transition, ...]

    def __str__(self) -> str:
        """In short, for ``print(outcome)``: losses, accuracies where there are any, and what changed."""
        parts = [_in_short("training", self.evidence.train), _in_short("validation", self.evidence.validation)]
        changes = [f"{it.slot} {it.blueprint} {it.source.name} -> {it.target.name}" for it in self.transitions]
        told = ", ".join([part for part in parts if part] or ["nothing was measured"])
        return "; ".join([f"epoch {self.evidence.epoch + 1}: {told}", *changes])


def _in_short(split: str, metrics: EpochMetrics) -> str:
    figures = {"loss": f"{metrics.loss:.4g}", "accuracy": f"{100 * metrics.accuracy:.1f} %"}
    known = [f"{name} {text}" for name, text in figures.items() if isfinite(getattr(metrics, name))]
    return f"{split} {' '.join(known)}" if known else ""
