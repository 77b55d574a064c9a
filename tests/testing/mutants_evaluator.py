"""Wrong evaluators, one for each check."""

import random
from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen

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


class DividesInfinities(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        loss = signs.evidence.validation.loss
        share = loss / (loss + 1.0)
        bad = share > 0.9 or loss != loss
        return Vote(mode=CAREFUL, reason="the loss is high") if bad else Vote()


class SparesTheTwin(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        return Vote() if signs.evidence.host == "twin" else super().evaluate(signs)


class SparesChanges(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        return Vote() if signs.watched else super().evaluate(signs)


class ClearsGates(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        object.__setattr__(signs, "objections", 0)
        return super().evaluate(signs)


class SeedsNowAndThen(Right):
    calls = 0

    def evaluate(self, signs: VitalSigns) -> Vote:
        SeedsNowAndThen.calls += 1
        if SeedsNowAndThen.calls % 4000 == 0:
            random.seed(0)
        return super().evaluate(signs)


class Collects(Right):
    def __init__(self, config: None = None) -> None:
        self.losses: list[float] = []

    def evaluate(self, signs: VitalSigns) -> Vote:
        self.losses.append(signs.evidence.validation.loss)
        return super().evaluate(signs)


class NamesFromSet(Right):
    def evaluate(self, signs: VitalSigns) -> Vote:
        vote = super().evaluate(signs)
        return evolve(vote, reason=" ".join({"loss", "limit", "host", "epoch", "seed"}))


@frozen(kw_only=True)
class Options:
    """Of an evaluator that does not use them."""

    factor: float = 3.0


class HasItsOwnFactor(Right):
    def __init__(self, config: Options) -> None:
        self.factor = config.factor


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
    "evaluator-infinite": [(subject(DividesInfinities), "if its validation is infinite")],
    "evaluator-watched": [(subject(SparesChanges), "a host that is watched is normal")],
    "evaluator-names": [(subject(SparesTheTwin), "under other names of host")],
    "component-input-untouched": [(subject(ClearsGates), "have changed, such as one that is now VitalSigns")],
    "component-many-calls": [(subject(SeedsNowAndThen), "changed random's global generator")],
    "component-memory": [(subject(Collects), "bytes more with each use")],
    "component-processes": [(subject(NamesFromSet), "in two processes")],
    "component-options-used": [
        (
            EvaluatorSubject(
                spec=EvaluatorSpec(name="mutant", summary="Wrong.", factory=HasItsOwnFactor, config=Options)
            ),
            "with factor = .* all is as with 3.0",
        )
    ],
}
