"""What evaluators with many figures share: a figure against its limit, and what objections add up to."""

from collections.abc import Iterable
from math import isfinite

from attrs import frozen

from esper_core.api import GovernorMode, VitalSigns, Vote

#: Said by an evaluator of a run where a host's own governor asks it, as in a training loop of the user's own.
OUTSIDE = "nothing is known of the run here: only esper run and esper train ask this evaluator"


@frozen
class Judged:
    """A figure with its limit.

    Attributes:
        name: of the figure, with its unit.
        value: None: it is not known.
        most, least: limits; None: there is none.
    """

    name: str
    value: float | None
    most: float | None = None
    least: float | None = None

    @property
    def objection(self) -> str:
        """What there is to object to; "" if nothing. Written so that NaN, and what is not known, is objected to."""
        if self.most is None and self.least is None:
            return ""
        if self.value is None:
            return f"the {self.name} is not known"
        if not isfinite(self.value):
            return f"the {self.name} is {self.value}"
        if self.most is not None and not self.value <= self.most:
            return f"the {self.name} is {self.value:.4g}, above {self.most:.4g}"
        if self.least is not None and not self.value >= self.least:
            return f"the {self.name} is {self.value:.4g}, below {self.least:.4g}"
        return ""


def vote(objections: Iterable[str], signs: VitalSigns, stop_after_epochs: int | None = None) -> Vote:
    """Return the vote that objections add up to: caution, and not to go on after too many epochs in a row."""
    found = [it for it in objections if it]
    if not found:
        return Vote()
    epochs = signs.objections + 1
    mode = GovernorMode.CONSERVATIVE
    if stop_after_epochs is not None and epochs >= stop_after_epochs:
        mode = GovernorMode.STOPPED
    return Vote(mode=mode, reason=", ".join(found) + (f", for {epochs} epochs" if epochs > 1 else ""))
