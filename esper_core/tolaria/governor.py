"""The governor: watches a host's vital signs, and allows or denies every structural change. Nothing switches it off."""

from math import isfinite

from attrs import define, field

from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Op, Verdict
from esper_core.leyline.evidence import EpochMetrics

#: A validation loss this many times above both the best so far and random guessing's is an anomaly.
ANOMALY_FACTOR = 3.0
#: So many anomalous epochs in a row are a divergence.
PATIENCE_EPOCHS = 3


@define
class Governor:
    """The authority over one host.

    A loss that is not finite stops the host at once. An anomalous validation loss makes the governor conservative: it
    denies what adds structure until the loss is normal again, and stops the host if that takes too long.

    Attributes:
        random_guess_loss: loss of a model that knows nothing, in nats; 0 where that is not known.
        mode: normal, conservative or stopped.
        reason: why the mode is not normal.
    """

    random_guess_loss: float
    mode: GovernorMode = GovernorMode.NORMAL
    reason: str = ""
    best_loss: float = float("inf")
    anomalies: int = field(default=0)

    def observe(self, train: EpochMetrics, validation: EpochMetrics) -> None:
        """Take in an epoch's metrics and choose the mode. Metrics of no samples are no measurement."""
        if self.mode is GovernorMode.STOPPED:
            return
        for name, metrics in (("training", train), ("validation", validation)):
            if metrics.samples and not isfinite(metrics.loss):
                self.mode, self.reason = GovernorMode.STOPPED, f"the {name} loss is {metrics.loss}"
                return
        if not validation.samples:
            return
        limit = ANOMALY_FACTOR * max(min(self.best_loss, validation.loss), self.random_guess_loss)
        self.best_loss = min(self.best_loss, validation.loss)
        if validation.loss <= limit:
            self.mode, self.reason, self.anomalies = GovernorMode.NORMAL, "", 0
            return
        self.anomalies += 1
        self.reason = f"the validation loss is {validation.loss:.3g}, above {limit:.3g}, for {self.anomalies} epochs"
        diverged = self.anomalies >= PATIENCE_EPOCHS
        self.mode = GovernorMode.STOPPED if diverged else GovernorMode.CONSERVATIVE

    def review(self, action: Action, masks: ActionMasks) -> Verdict:
        """Allow or deny an action. WAIT is always allowed, and a cull as long as it is possible."""
        return Verdict(action_id=action.id, allowed=not (why := self._objection(action, masks)), reason=why)

    def _objection(self, action: Action, masks: ActionMasks) -> str:
        if action.op is Op.WAIT:
            return ""
        if self.mode is not GovernorMode.NORMAL and action.op is not Op.CULL:
            return f"the governor is {self.mode.value}: {self.reason}"
        if not masks.allows(action):
            blueprint = f" {action.blueprint}" if action.blueprint else ""
            return f"impossible: {action.op.name}{blueprint} at {action.slot} as the slots stand"
        return ""
