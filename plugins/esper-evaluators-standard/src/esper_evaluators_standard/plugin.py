"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import EvaluatorSpec

ESPER_API = "2.0"


@hookimpl
def esper_evaluators() -> Iterable[EvaluatorSpec]:
    """Offer three evaluators."""
    yield EvaluatorSpec(
        name="divergence",
        summary="Objects to a validation loss that is worse than guessing, than the best one, and than usual.",
        factory="esper_evaluators_standard.divergence:Divergence",
        config="esper_evaluators_standard.config:DivergenceConfig",
    )
    yield EvaluatorSpec(
        name="lobotomy",
        summary="Objects to a network that has fallen back to random guessing.",
        factory="esper_evaluators_standard.lobotomy:Lobotomy",
        config="esper_evaluators_standard.config:LobotomyConfig",
    )
    yield EvaluatorSpec(
        name="not-finite",
        summary="Objects to figures of seeds in the network's forward pass that are not finite.",
        factory="esper_evaluators_standard.not_finite:NotFinite",
    )
