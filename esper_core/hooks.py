"""Hook specifications: everything a plugin can do. Mark implementations with `hookimpl`.

A plugin module declares ``ESPER_API = "2.0"`` and is found through the entry-point group ``esper``. Registration hooks
are called once at start and return descriptors; nothing on a hot path is a hook call. An implementation may leave out
arguments that it does not need. The examples take their names from ``esper_core.hooks``, ``esper_core.specs`` and
``esper_core.api``.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker, HookspecMarker

from esper_core.leyline.specs import (
    BlueprintSpec,
    DiagnosticSpec,
    EvaluatorSpec,
    ExecutorSpec,
    GateSpec,
    HostSpec,
    PolicySpec,
    RewardTermSpec,
    SinkSpec,
    TaskSpec,
)

if TYPE_CHECKING:
    from torch import nn

    # Every command that looks at plugins imports this module; these would cost it more than thirty plugins do.
    from esper_core.leyline.actions import Transition
    from esper_core.leyline.evidence import Evidence
    from esper_core.leyline.sites import SiteRequest

#: The project name of pluggy's markers, and the entry-point group.
PROJECT = "esper"

hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)


class RegistrationSpecs:
    """Called once at start; each returns descriptors. Wrappers are not allowed."""

    @hookspec
    def esper_hosts(self) -> Iterable[HostSpec]:
        """Offer host networks.

        >>> @hookimpl
        ... def esper_hosts():
        ...     yield HostSpec(name="cnn", summary="A CNN.", layouts={"NCHW"}, factory="my_host.module:build")
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def esper_blueprints(self) -> Iterable[BlueprintSpec]:
        """Offer blueprints.

        >>> @hookimpl
        ... def esper_blueprints():
        ...     yield BlueprintSpec(name="foo", summary="Foo.", layouts={"NCHW"}, factory="my_foo.module:Foo")
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def esper_gates(self) -> Iterable[GateSpec]:
        """Offer gates, each for one level of one gate set.

        >>> @hookimpl
        ... def esper_gates():
        ...     yield GateSpec(
        ...         name="patient-g5", summary="Waits longer.", level=GateLevel.G5, gate_set="patient",
        ...         factory="my_gates.module:Patience", config="my_gates.config:PatienceOptions",
        ...     )
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def esper_reward_terms(self) -> Iterable[RewardTermSpec]:
        """Offer addends of the reward.

        >>> @hookimpl
        ... def esper_reward_terms():
        ...     yield RewardTermSpec(
        ...         name="thrift", summary="Minus the share of new parameters.", low=-1.0, high=0.0,
        ...         factory="my_rewards.module:Thrift",
        ...     )
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def esper_policies(self) -> Iterable[PolicySpec]:
        """Offer policies.

        >>> @hookimpl
        ... def esper_policies():
        ...     yield PolicySpec(name="bold", summary="Germinates everywhere.", factory="my_policy.module:Bold")
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def esper_telemetry_sinks(self) -> Iterable[SinkSpec]:
        """Offer telemetry sinks.

        >>> @hookimpl
        ... def esper_telemetry_sinks():
        ...     yield SinkSpec(name="pager", summary="Rings when a seed is culled.", factory="my_sink.module:Pager")
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def esper_tasks(self) -> Iterable[TaskSpec]:
        """Offer tasks.

        >>> @hookimpl
        ... def esper_tasks():
        ...     yield TaskSpec(
        ...         name="clouds", summary="Ten kinds of clouds.", factory="my_task.module:Clouds",
        ...         host="cnn", host_options={"widths": [16, 32]}, defaults={"epochs": 30, "optimizer.lr": 0.05},
        ...     )
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def esper_executors(self) -> Iterable[ExecutorSpec]:
        """Offer places where growing hosts run.

        >>> @hookimpl
        ... def esper_executors():
        ...     yield ExecutorSpec(name="cluster", summary="On many machines.", factory="my_executor.module:Cluster")
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def esper_evaluators(self) -> Iterable[EvaluatorSpec]:
        """Offer evaluators, which vote on hosts for the governor.

        >>> @hookimpl
        ... def esper_evaluators():
        ...     yield EvaluatorSpec(name="calm", summary="Objects to a spike.", factory="my_evaluator.module:Calm")
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def esper_diagnostics(self) -> Iterable[DiagnosticSpec]:
        """Offer diagnostics, which look into a growing network.

        >>> @hookimpl
        ... def esper_diagnostics():
        ...     yield DiagnosticSpec(name="rank", summary="Ranks of weights.", factory="my_diagnostic.module:Rank")
        """
        raise AssertionError("a specification is never called")


class ResolutionSpecs:
    """Exactly one plugin answers; the first result counts."""

    @hookspec(firstresult=True)
    def esper_adapt_host(self, model: "nn.Module") -> "Iterable[SiteRequest] | None":
        """Return the sites of a model that this plugin understands, else None.

        >>> @hookimpl
        ... def esper_adapt_host(model):
        ...     if type(model).__name__ != "MyNet":
        ...         return None
        ...     return [SiteRequest(path=f"blocks.{i}", layout=Layout.NCHW) for i in range(len(model.blocks))]
        """


class ObserverSpecs:
    """Told what happens in a run. Never change training from here.

    What they return, one or a list, becomes events of the run, if the plugin has registered kinds of events
    (`esper_nissa.event_kinds`); nothing else is made of it.
    """

    @hookspec
    def esper_run_start(self, manifest: Mapping[str, Any]) -> None:
        """A run begins; `manifest` is what will be written to ``manifest.json``.

        >>> @hookimpl
        ... def esper_run_start(manifest):
        ...     print(f"seed {manifest['seed']} on {manifest['machine']['system']}")
        """

    @hookspec
    def esper_epoch_end(self, host: str, evidence: "Evidence") -> None:
        """A host has finished an epoch.

        >>> @hookimpl
        ... def esper_epoch_end(host, evidence):
        ...     print(f"{host}: epoch {evidence.epoch}, validation accuracy {evidence.validation.accuracy:.3f}")
        """

    @hookspec
    def esper_seed_transition(self, host: str, transition: "Transition") -> None:
        """A seed has changed its stage.

        >>> @hookimpl
        ... def esper_seed_transition(transition):
        ...     if transition.target is Stage.CULLED:
        ...         print(f"{transition.seed_id} is gone: {transition.reason}")
        """

    @hookspec
    def esper_run_finish(self, result: Mapping[str, Any]) -> None:
        """A run is over; every implementation is called even if another one raises.

        >>> @hookimpl
        ... def esper_run_finish(result):
        ...     print(f"{result['task']}: {result['outcome']}")
        """


#: All specification classes, in the order of the documentation.
SPECIFICATIONS: tuple[type, ...] = (RegistrationSpecs, ResolutionSpecs, ObserverSpecs)


def hooks_of(specification: type) -> tuple[str, ...]:
    """Return the names of the hooks that a class specifies."""
    return tuple(name for name in vars(specification) if name.startswith(f"{PROJECT}_"))
