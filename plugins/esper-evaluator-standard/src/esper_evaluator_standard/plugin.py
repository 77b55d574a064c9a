"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import EvaluatorSpec

ESPER_API = "2.0"


@hookimpl
def esper_evaluators() -> Iterable[EvaluatorSpec]:
    """Offer one evaluator."""
    yield EvaluatorSpec(
        name="loss-anomaly",
        summary="Objects to a validation loss far above the best one so far.",
        factory="esper_evaluator_standard.evaluator:LossAnomaly",
        config="esper_evaluator_standard.config:LossAnomalyConfig",
    )
