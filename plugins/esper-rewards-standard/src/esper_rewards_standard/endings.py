"""What the network is worth: at the planned end, and by its loss."""

from math import isfinite

from esper_core.api import Ended, Step
from esper_rewards_standard.config import TerminalConfig
from esper_rewards_standard.measures import clamp, difference, gain, growth_ratio, log_growth, loss, random_guess_loss


def at_planned_end(step: Step) -> bool:
    """Whether the round ends here as planned; a host that was stopped has nothing to show for it."""
    return step.terminal and step.ended is not Ended.TERMINATED


class Terminal:
    """The validation accuracy at the planned end, minus ``rent * log2(1 + growth ratio)``; 0 before.

    Args:
        config: its options.
    """

    def __init__(self, config: TerminalConfig) -> None:
        self._rent = config.rent

    def value(self, step: Step) -> float:
        """Return the worth of the network, -1 to 1."""
        accuracy = step.after.validation.accuracy
        if not at_planned_end(step) or not isfinite(accuracy):
            return 0.0
        return clamp(accuracy - self._rent * log_growth(growth_ratio(step)) / log_growth(1.0))


class LossGain:
    """By how much the validation loss fell more than the twin's in this epoch, over random guessing's loss.

    Its sum over a round is the gain over the twin. Without a twin it is the fall of the loss itself.
    """

    def __init__(self, config: None) -> None: ...

    def value(self, step: Step) -> float:
        """Return the share of random guessing's loss, -1 to 1; 0 where it is not known, as in the first epoch."""
        fall = difference(loss(step.before), loss(step.after))
        if step.twin is not None:
            fall = difference(fall, difference(loss(step.twin_before), loss(step.twin)))
        scale = random_guess_loss(step)
        return 0.0 if fall is None or scale is None else clamp(fall / scale)


class LossTerminal:
    """The loss at the planned end on a scale from random guessing's (0) to the twin's (1); 0 before.

    Without a twin, and where the twin knows no more than random guessing, the scale goes to a loss of 0.
    """

    def __init__(self, config: None) -> None: ...

    def value(self, step: Step) -> float:
        """Return where the loss is on the scale, -1 to 2; 0 where it is not known."""
        scale, reached = random_guess_loss(step), loss(step.after)
        if not at_planned_end(step) or scale is None or reached is None:
            return 0.0
        target, gained = loss(step.twin), gain(step)
        if target is None or gained is None or target >= scale:
            return clamp((scale - reached) / scale, -1.0, 2.0)
        return clamp((scale - reached) / (scale - target), -1.0, 2.0)
