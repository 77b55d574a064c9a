"""Credit for what seeds do to the loss."""

from esper_core.api import Step
from esper_rewards_standard.measures import clamp, credit, dependence


class Attribution:
    """What the seeds in the network contribute, and no more than the network has gained over its twin.

    An ablation alone pays for dependence: measured, it overstates what was gained 4 to 13 times, and a policy could
    raise it by making the host helpless. A loss that is worse than the twin's counts in full. Without a twin only harm
    is counted, since a gain is not known then.
    """

    def __init__(self, config: None) -> None: ...

    def value(self, step: Step) -> float:
        """Return the credit as a share of random guessing's loss, -1 to 1; 0 where it is not known."""
        return clamp(credit(step, dependence(step)) or 0.0)
