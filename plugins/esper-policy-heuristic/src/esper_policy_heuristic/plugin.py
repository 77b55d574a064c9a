"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import PolicySpec

ESPER_API = "2.0"


@hookimpl
def esper_policies() -> Iterable[PolicySpec]:
    """Offer the policy."""
    yield PolicySpec(
        name="heuristic",
        summary="Rules: grow underfitting hosts, early and in several slots, and look after every seed.",
        factory="esper_policy_heuristic.policy:Heuristic",
        config="esper_policy_heuristic.config:HeuristicConfig",
    )
