"""What growing costs: compute, interventions, and what others had to put right."""

from collections.abc import Mapping

from esper_core.api import Cause, Ended, Op, Stage, Step
from esper_rewards_standard.config import AutomaticConfig, InterventionConfig, Measure, RentConfig
from esper_rewards_standard.measures import clamp, compute_ratio, growth_ratio, log_growth


class Rent:
    """``-ln(1 + growth)`` in every epoch: what has grown costs as long as it is there.

    Args:
        config: its options.
    """

    def __init__(self, config: RentConfig) -> None:
        self._of = config.of

    def value(self, step: Step) -> float:
        """Return the rent, from -4 (55 times the host) to 0."""
        ratio = compute_ratio(step) if self._of is Measure.FLOPS else None
        return clamp(-log_growth(growth_ratio(step) if ratio is None else ratio), -4.0, 0.0)


class Intervention:
    """A price for each thing that the policy asks for, whether or not it is allowed.

    Args:
        config: the prices.
    """

    def __init__(self, config: InterventionConfig) -> None:
        self._prices: Mapping[Op, float] = {
            Op.WAIT: 0.0,
            Op.GERMINATE: config.germinate,
            Op.CULL: config.cull,
            Op.FOSSILIZE: config.fossilize,
        }

    def value(self, step: Step) -> float:
        """Return the cost, -1 to 0."""
        return clamp(-sum(self._prices[action.op] for action in step.decision.actions), -1.0, 0.0)


class Automatic:
    """The price of what the policy has let come to that: seeds culled by themselves, and a host that was stopped.

    Args:
        config: the prices.
    """

    def __init__(self, config: AutomaticConfig) -> None:
        self._config = config

    def value(self, step: Step) -> float:
        """Return the cost, -2 to 0."""
        culls = sum(change.target is Stage.CULLED and change.cause is not Cause.ACTION for change in step.transitions)
        stops = step.ended is Ended.TERMINATED
        return clamp(-(self._config.cull * culls + self._config.stop * stops), -2.0, 0.0)
