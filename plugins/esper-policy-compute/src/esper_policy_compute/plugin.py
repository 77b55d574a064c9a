"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import Capability, PolicySpec

ESPER_API = "2.0"


@hookimpl
def esper_policies() -> Iterable[PolicySpec]:
    """Offer the policy."""
    yield PolicySpec(
        name="compute",
        summary="Tries one seed, and grows on only while that is worth more than its FLOPs are to the host.",
        factory="esper_policy_compute.policy:ComputePolicy",
        config="esper_policy_compute.config:ComputeConfig",
        capabilities=frozenset({Capability.STATEFUL}),
    )
