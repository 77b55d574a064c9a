"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import Capability, PolicySpec

ESPER_API = "2.0"


@hookimpl
def esper_policies() -> Iterable[PolicySpec]:
    """Offer the policies."""
    yield PolicySpec(
        name="null",
        summary="Never acts: a run under it is its own twin.",
        factory="esper_policy_baselines.policies:never",
    )
    yield PolicySpec(
        name="random",
        summary="Does any possible thing at random.",
        factory="esper_policy_baselines.policies:RandomActor",
        config="esper_policy_baselines.config:RandomConfig",
    )
    yield PolicySpec(
        name="periodic",
        summary="Germinates every few epochs or FLOPs, and keeps what passes its gates.",
        factory="esper_policy_baselines.periodic:Periodic",
        config="esper_policy_baselines.config:PeriodicConfig",
        capabilities=frozenset({Capability.STATEFUL}),
    )
    yield PolicySpec(
        name="fixed-schedule",
        summary="Does again what was done in a recorded run.",
        factory="esper_policy_baselines.fixed_schedule:FixedSchedule",
        config="esper_policy_baselines.config:FixedScheduleConfig",
        capabilities=frozenset({Capability.STATEFUL}),
    )
