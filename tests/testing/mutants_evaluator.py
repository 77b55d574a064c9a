"""Wrong evaluators, one for each check."""

from collections.abc import Callable
from typing import Any

from attrs import evolve

from esper_core.api import GovernorMode, VitalSigns, Vote
from esper_core.specs import EvaluatorSpec
from esper_testing import EvaluatorSubject

CAREFUL = GovernorMode.CONSERVATIVE


class Right:
    """A right evaluator; each mutant spoils one thing."""

    def __init__(self, config: None = None) -> None:
        pass

    def evaluate(self, signs: VitalSigns) -> Vote:
        loss, limit = signs.evidence.validation.loss, 3.0 * signs.best_loss
        return Vote() if loss <= limit else Vote(mode=CAREFUL, reason=f"the loss is {loss}, above {limit}")


class Raises(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        steps = max(seed.update_ratio for seed in signs.evidence.seeds)
        return super().evaluate(signs) if steps < 1.0 else Vote(mode=CAREFUL, reason="large steps")


class RoundsInfinity(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        return super().evaluate(signs) if int(signs.evidence.train.loss) < 100 else Vote(mode=CAREFUL, reason="lost")


class ReturnsMode(Right):
    def evaluate(self, signs: VitalSigns) -> Any:
        return super().evaluate(signs).mode


class Remembers(Right):
    def __init__(self, config: None = None) -> None:
        self.best = float("inf")

    def evaluate(self, signs: VitalSigns) -> Vote:
        self.best = min(self.best, signs.evidence.validation.loss)
        return super().evaluate(evolve(signs, best_loss=self.best))


class NeverContent(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        return Vote(mode=GovernorMode.STOPPED, reason="never")


class AsksForWhatIsBad(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        bad = signs.evidence.validation.loss > 3.0 * signs.best_loss
        return Vote(mode=CAREFUL, reason="the loss is high") if bad else Vote()


class TrustsSeeds(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        large = [seed.slot for seed in signs.evidence.seeds if (seed.update_ratio or 0.0) > 1.0]
        return Vote(mode=CAREFUL, reason=f"large updates in {large}") if large else super().evaluate(signs)


class SaysNothing(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        return evolve(super().evaluate(signs), reason="")


def subject(factory: Callable[..., Any]) -> EvaluatorSubject:
    return EvaluatorSubject(spec=EvaluatorSpec(name="mutant", summary="Wrong.", factory=factory))


RIGHT = [subject(Right)]

MUTANTS = {
    "evaluator-total": [
        (subject(Raises), "it raised"),
        (subject(RoundsInfinity), "it raised"),
        (subject(ReturnsMode), "the vote is "),
    ],
    "evaluator-pure": [(subject(Remembers), "the same vital signs got different votes")],
    "evaluator-calm": [(subject(NeverContent), "the healthiest host is stopped: never")],
    "evaluator-nan": [
        (subject(AsksForWhatIsBad), "if validation.loss is NaN"),
        (subject(TrustsSeeds), "if a seed's update_ratio is NaN"),
    ],
    "evaluator-reason": [(subject(SaysNothing), "an objection without a reason")],
}
