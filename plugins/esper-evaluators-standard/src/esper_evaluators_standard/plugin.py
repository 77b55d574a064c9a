"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import EvaluatorSpec

ESPER_API = "2.0"


@hookimpl
def esper_evaluators() -> Iterable[EvaluatorSpec]:
    """Offer three evaluators that a run uses by default, and three that it is given limits for."""
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
    yield EvaluatorSpec(
        name="stability",
        summary="Objects to losses that leap, gradients that are too large, and seeds that are not isolated.",
        factory="esper_evaluators_standard.stability:Stability",
        config="esper_evaluators_standard.config:StabilityConfig",
    )
    yield EvaluatorSpec(
        name="resources",
        summary="Objects to parameters, operations, time and memory beyond limits.",
        factory="esper_evaluators_standard.resources:Resources",
        config="esper_evaluators_standard.config:ResourcesConfig",
        capabilities={"judges-run"},
    )
    yield EvaluatorSpec(
        name="policy-health",
        summary="Objects to a policy that is too sure, wrong about values, old, or slow.",
        factory="esper_evaluators_standard.policy_health:PolicyHealth",
        config="esper_evaluators_standard.config:PolicyHealthConfig",
        capabilities={"judges-run"},
    )
