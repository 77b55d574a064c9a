"""Whether a host's training is calm enough for a change: its losses, its gradients, its seeds' isolation."""

from collections.abc import Iterator
from itertools import pairwise
from math import isfinite
from statistics import pstdev

from esper_core.api import SeedEvidence, Stage, VitalSigns, Vote
from esper_evaluators_standard.config import StabilityConfig
from esper_evaluators_standard.judging import Judged, vote

#: The figures of a seed that are counted as known or not, and the stages in which they are measured.
_OF_SEEDS = (
    ("probe", (Stage.TRAINING,)),
    ("contribution", (Stage.BLENDING, Stage.PROBATIONARY)),
    ("update_ratio", (Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY)),
    ("gradient_ratio", (Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY)),
)


class Stability:
    """Compares a host's losses and gradients with limits."""

    def __init__(self, config: StabilityConfig) -> None:
        self.config = config

    def evaluate(self, signs: VitalSigns) -> Vote:
        """Vote for caution where training is not calm."""
        config, losses = self.config, (*signs.recent_losses, signs.evidence.validation.loss)
        objections = [
            Judged("rise of the validation loss", losses[-1] - losses[-2], config.loss_rise).objection
            if len(losses) > 1
            else "",
            Judged("volatility of the validation loss", _volatility(losses), config.loss_volatility).objection
            if len(losses) > 2
            else "",
            *self._of_seeds(signs.evidence.seeds),
            self._stalled(signs, losses),
            self._unknown(signs.evidence.seeds),
        ]
        return vote(objections, signs, config.stop_after_epochs)

    def _of_seeds(self, seeds: tuple[SeedEvidence, ...]) -> Iterator[str]:
        for it in seeds:
            if self.config.isolation and it.isolated is False:
                yield f"the seed in {it.slot} is not isolated: its training changes the host's gradients"
            if it.gradient_ratio is not None:
                yield Judged(
                    f"gradient ratio of the seed in {it.slot}", it.gradient_ratio, self.config.gradient_ratio
                ).objection

    def _stalled(self, signs: VitalSigns, losses: tuple[float, ...]) -> str:
        rate = signs.evidence.learning_rate
        if not self.config.learning_rate or rate is None or rate > 0.0 or len(losses) < 2 or losses[-1] <= losses[-2]:
            return ""
        return f"the learning rate is {rate:.4g} and the validation loss has risen"

    def _unknown(self, seeds: tuple[SeedEvidence, ...]) -> str:
        values = [getattr(it, name) for it in seeds for name, stages in _OF_SEEDS if it.stage in stages]
        if not values:
            return ""
        share = sum(it is not None for it in values) / len(values)
        return Judged("share of the seeds' figures that are known", share, least=self.config.known_share).objection


def _volatility(losses: tuple[float, ...]) -> float:
    """Return the standard deviation of the changes from epoch to epoch; NaN if a loss is not finite."""
    if not all(map(isfinite, losses)):
        return float("nan")
    return pstdev(after - before for before, after in pairwise(losses))
