"""A validation loss far above what was reached is an anomaly, and one that stays there is a divergence."""

from esper_core.api import GovernorMode, VitalSigns, Vote
from esper_evaluator_standard.config import LossAnomalyConfig


class LossAnomaly:
    """Compares the validation loss with the best one so far, and with that of random guessing."""

    def __init__(self, config: LossAnomalyConfig) -> None:
        self.config = config

    def evaluate(self, signs: VitalSigns) -> Vote:
        """Vote for caution in an anomalous epoch, and for the end after too many in a row."""
        loss = signs.evidence.validation.loss
        floor = signs.random_guess_loss or self.config.floor_share * signs.first_loss
        limit = self.config.factor * max(signs.best_loss, floor)
        if loss <= limit:
            return Vote()
        epochs = signs.objections + 1
        diverged = epochs >= self.config.patience_epochs
        return Vote(
            mode=GovernorMode.STOPPED if diverged else GovernorMode.CONSERVATIVE,
            reason=f"the validation loss is {loss:.3g}, above {limit:.3g}, for {epochs} epochs",
        )
