"""A network that guesses, though it knew much more, has lost what it had learned."""

from statistics import median

from esper_core.api import GovernorMode, VitalSigns, Vote
from esper_evaluators_standard.config import LobotomyConfig


class Lobotomy:
    """Compares the validation loss with random guessing's, where that is known."""

    def __init__(self, config: LobotomyConfig) -> None:
        self.config = config

    def evaluate(self, signs: VitalSigns) -> Vote:
        """Vote against going on at once: no later epoch is needed to know."""
        loss, guess = signs.evidence.validation.loss, signs.random_guess_loss
        if guess is None or not signs.recent_losses:
            return Vote()
        before = median(signs.recent_losses)
        guesses = abs(loss - guess) <= self.config.tolerance * guess
        if not guesses or before > self.config.far_share * guess:
            return Vote()
        why = f"the validation loss is {loss:.3g}, that of random guessing ({guess:.3g}), and was {before:.3g}"
        return Vote(mode=GovernorMode.STOPPED, reason=why)
