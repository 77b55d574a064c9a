"""A validation loss that three criteria find too high is an anomaly, and one that stays there is a divergence."""

from itertools import pairwise

from esper_core.api import GovernorMode, VitalSigns, Vote
from esper_evaluators_standard.config import DivergenceConfig


class Divergence:
    """Compares the validation loss with random guessing's, with the best so far, and with the last normal epochs'.

    One criterion alone is met by healthy networks: a new one is worse than guessing, one that overfits rises slowly far
    above its best loss, and where losses have only fallen so far any rise is unusual.
    """

    def __init__(self, config: DivergenceConfig) -> None:
        self.config = config

    def evaluate(self, signs: VitalSigns) -> Vote:
        """Vote for caution in an anomalous epoch, and against going on after too many in a row."""
        loss, limit = signs.evidence.validation.loss, self.limit(signs)
        if loss <= limit:
            return Vote()
        epochs = signs.objections + 1
        patience = self.config.watched_patience_epochs if signs.watched else self.config.patience_epochs
        return Vote(
            mode=GovernorMode.STOPPED if epochs >= patience else GovernorMode.CONSERVATIVE,
            reason=f"the validation loss is {loss:.3g}, above {limit:.3g}, for {epochs} epochs",
        )

    def limit(self, signs: VitalSigns) -> float:
        """The validation loss up to which at least one of the three criteria is not met, in nats."""
        config, guess = self.config, signs.random_guess_loss
        worse_than_guessing = config.guess_share * guess if guess else config.first_share * signs.first_loss
        return max(worse_than_guessing, config.factor * signs.best_loss, self._usual(signs.recent_losses))

    def _usual(self, losses: tuple[float, ...]) -> float:
        """How far the loss might have risen since the last normal epoch, going by how much it rose between others."""
        if not losses:
            return 0.0
        rises = [max(0.0, loss - before) for before, loss in pairwise(losses)]
        return losses[-1] + self.config.rises * sum(rises) / max(1, len(rises))
