"""The governor: watches a host's vital signs, and allows or denies every structural change. Nothing switches it off."""

from math import isfinite

from attrs import define, field

from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Op, Verdict
from esper_core.leyline.evidence import EpochMetrics

#: A validation loss this many times above the best so far, random guessing's and the floor is an anomaly.
ANOMALY_FACTOR = 3.0
#: So many anomalous epochs in a row are a divergence, and so many normal ones are a recovery.
PATIENCE_EPOCHS = 3
#: Where random guessing's loss is not known, no loss below this share of the first one is taken for an anomaly.
FLOOR_SHARE = 0.1

#: Samples that are named at most.
_NAMED = 5


@define
class Governor:
    """The authority over one host.

    A loss that is not finite stops the host at once. An anomalous validation loss makes the governor conservative: it
    denies what adds structure until the loss is normal again, and stops the host if that takes too long. A host that
    is trained all the same, in a loop of the user's own, is normal again after as many normal epochs.

    Attributes:
        random_guess_loss: loss of a model that knows nothing, in nats; 0 where that is not known.
        mode: normal, conservative or stopped.
        reason: why the mode is not normal.
        best_loss, first_loss: the lowest validation loss so far, and the first.
        anomalies: anomalous epochs in a row.
        recovered: normal epochs in a row since the host was stopped.
    """

    random_guess_loss: float
    mode: GovernorMode = GovernorMode.NORMAL
    reason: str = ""
    best_loss: float = float("inf")
    first_loss: float = 0.0
    anomalies: int = field(default=0)
    recovered: int = field(default=0)

    def observe(self, train: EpochMetrics, validation: EpochMetrics) -> None:
        """Take in an epoch's metrics and choose the mode. Metrics of no samples are no measurement."""
        for name, metrics in (("training", train), ("validation", validation)):
            if metrics.samples and not isfinite(metrics.loss):
                why = f"the {name} loss is {metrics.loss}{_which(metrics)}"
                self.mode, self.reason, self.recovered = GovernorMode.STOPPED, why, 0
                return
        if not validation.samples:
            return
        loss = validation.loss
        self.first_loss = self.first_loss or loss
        limit = ANOMALY_FACTOR * max(min(self.best_loss, loss), self.random_guess_loss or FLOOR_SHARE * self.first_loss)
        self.best_loss = min(self.best_loss, loss)
        if loss > limit:
            self._anomaly(f"the validation loss is {loss:.3g}, above {limit:.3g}")
        else:
            self._normal()

    def _normal(self) -> None:
        self.anomalies = 0
        if self.mode is GovernorMode.STOPPED:
            self.recovered += 1
            if self.recovered < PATIENCE_EPOCHS:
                return
        self.mode, self.reason, self.recovered = GovernorMode.NORMAL, "", 0

    def _anomaly(self, why: str) -> None:
        self.anomalies += 1
        self.recovered = 0
        if self.mode is GovernorMode.STOPPED:
            return
        self.reason = f"{why}, for {self.anomalies} epochs"
        diverged = self.anomalies >= PATIENCE_EPOCHS
        self.mode = GovernorMode.STOPPED if diverged else GovernorMode.CONSERVATIVE

    def review(self, action: Action, masks: ActionMasks) -> Verdict:
        """Allow or deny an action. WAIT is always allowed, and a cull as long as it is possible."""
        return Verdict(action_id=action.id, allowed=not (why := self._objection(action, masks)), reason=why)

    def _objection(self, action: Action, masks: ActionMasks) -> str:
        if action.op is Op.WAIT:
            return ""
        kept = action.op is Op.FOSSILIZE and self.mode is GovernorMode.CONSERVATIVE
        if self.mode is not GovernorMode.NORMAL and action.op is not Op.CULL and not kept:
            return f"the governor is {self.mode.value}: {self.reason}"
        if not masks.allows(action):
            blueprint = f" {action.blueprint}" if action.blueprint else ""
            return f"impossible: {action.op.name}{blueprint} at {action.slot} as the slots stand"
        return ""


def _which(metrics: EpochMetrics) -> str:
    """Name the first samples whose losses are not finite, if those are known."""
    losses = metrics.sample_losses
    if losses is None:
        return ""
    broken = [index for index, loss in enumerate(losses) if not isfinite(loss)]
    named = ", ".join(map(str, broken[:_NAMED])) + (", ..." if len(broken) > _NAMED else "")
    return f" ({len(broken)} of {len(losses)} samples: {named})" if broken else ""
