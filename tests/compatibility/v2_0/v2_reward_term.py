"""A reward term as plugin API 2.0 has it."""

from math import isfinite, tanh

from attrs import frozen

from esper_core.api import Step
from esper_core.hooks import hookimpl
from esper_core.specs import RewardTermSpec

ESPER_API = "2.0"


@frozen(kw_only=True)
class Options:
    """Options of the term."""

    scale: float = 1.0


class Progress:
    def __init__(self, config: Options) -> None:
        self.scale = config.scale

    def value(self, step: Step) -> float:
        if step.before is None:
            return 0.0
        gained = step.before.validation.loss - step.after.validation.loss
        return tanh(self.scale * gained) if isfinite(gained) else -1.0


@hookimpl
def esper_reward_terms():
    yield RewardTermSpec(name="v2", summary="Progress.", factory=Progress, config=Options, low=-1.0, high=1.0)
