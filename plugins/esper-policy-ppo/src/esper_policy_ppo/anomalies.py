"""What should not happen in an update, as figures of a round."""

from attrs import define
from torch import Tensor

#: A ratio above or below these was no small step.
HIGHEST_RATIO, LOWEST_RATIO = 5.0, 0.1

#: The value has collapsed when it explained less than nothing in this many updates in a row ...
COLLAPSED_UPDATES = 3

#: ... and has recovered when it explains this share of the variance again.
RECOVERED = 0.1


@define
class ValueWatch:
    """Whether the value has collapsed: it takes several bad updates to say so, and a good one to take it back.

    Attributes:
        bad: updates in a row in which the value explained less than nothing.
        collapsed: the present answer.
    """

    bad: int = 0
    collapsed: bool = False

    def observe(self, explained_variance: float | None) -> bool:
        """Take in an update's explained variance, before it; None changes nothing. Return the answer."""
        if explained_variance is not None:
            self.bad = self.bad + 1 if explained_variance < 0.0 else 0
            recovered = explained_variance >= RECOVERED
            self.collapsed = self.bad >= COLLAPSED_UPDATES or (self.collapsed and not recovered)
        return self.collapsed


def anomalies(ratios: Tensor, skipped: int, collapsed: bool) -> dict[str, float]:
    """Return 1 or 0 for each anomaly, by name.

    Args:
        ratios: (n,), of every step of the round, after the update.
        skipped: minibatches whose loss or gradient was not finite.
        collapsed: the value has collapsed.
    """
    return {
        "anomaly: ratio explosion": float(bool(ratios.max() > HIGHEST_RATIO)),
        "anomaly: ratio collapse": float(bool(ratios.min() < LOWEST_RATIO)),
        "anomaly: value collapse": float(collapsed),
        "anomaly: numbers not finite": float(skipped > 0),
    }
