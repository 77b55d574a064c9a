"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import Capability, PolicySpec

ESPER_API = "2.0"


@hookimpl
def esper_policies() -> Iterable[PolicySpec]:
    """Offer the policy."""
    yield PolicySpec(
        name="ppo",
        summary="Learns from rounds: a recurrent network under exact masks, trained by PPO.",
        factory="esper_policy_ppo.policy:PPO",
        config="esper_policy_ppo.config:PPOConfig",
        capabilities=frozenset({Capability.STATEFUL, Capability.RECURRENT, Capability.LEARNS}),
    )
