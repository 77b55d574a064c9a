"""The reward of one step: weighted, bounded, named terms."""

from collections.abc import Sequence
from math import isfinite

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import Step
from esper_core.leyline.protocols import RewardTerm
from esper_core.leyline.reports import RewardBreakdown


@frozen(kw_only=True)
class WeightedTerm:
    """A reward term as a run uses it; `low` and `high` bound its value before weighting."""

    name: str
    term: RewardTerm
    weight: float
    low: float
    high: float


def reward(terms: Sequence[WeightedTerm], step: Step) -> RewardBreakdown:
    """Evaluate every term for one step.

    Raises:
        EsperError: E503 if a term's value is not finite or outside of its declared bounds.
    """
    values = {}
    for weighted in terms:
        value = weighted.term.value(step)
        if not isfinite(value) or not weighted.low <= value <= weighted.high:
            raise EsperError(
                "E503",
                f'reward term "{weighted.name}" gave {value}',
                why=f"it declares bounds from {weighted.low} to {weighted.high}",
                fix="the plugin must keep its bounds, or declare the right ones",
            )
        values[weighted.name] = weighted.weight * value
    return RewardBreakdown(terms=values)
