"""An evaluator as plugin API 2.0 has it."""

from attrs import frozen

from esper_core.api import GovernorMode, VitalSigns, Vote
from esper_core.hooks import hookimpl
from esper_core.specs import EvaluatorSpec

ESPER_API = "2.0"


@frozen(kw_only=True)
class Options:
    """Options of the evaluator."""

    nats: float = 5.0


class Ceiling:
    def __init__(self, config: Options) -> None:
        self.nats = config.nats

    def evaluate(self, signs: VitalSigns) -> Vote:
        loss = signs.evidence.validation.loss
        if loss <= signs.best_loss + self.nats:
            return Vote()
        mode = GovernorMode.STOPPED if signs.objections > 1 else GovernorMode.CONSERVATIVE
        return Vote(mode=mode, reason=f"{loss} is far above {signs.best_loss}")


@hookimpl
def esper_evaluators():
    yield EvaluatorSpec(name="v2", summary="A ceiling above the best loss.", factory=Ceiling, config=Options)
