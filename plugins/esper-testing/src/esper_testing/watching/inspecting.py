"""A run's parts under inspection (``--check-plugins``): wrapped once, at assembly, so that other runs pay nothing."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import attrs
from attrs import frozen

from esper_app.execution.assembly import Assembly
from esper_core.leyline.protocols import Sink
from esper_core.leyline.specs import (
    BlueprintSpec,
    EvaluatorSpec,
    HostSpec,
    PolicySpec,
    RewardTermSpec,
    SinkSpec,
    TaskSpec,
)
from esper_core.plugins.registry import Registry
from esper_core.tamiyo.policy import Policy
from esper_testing.watching.inspected_parts import (
    InspectedEvaluator,
    InspectedGate,
    InspectedSink,
    InspectedTerm,
    inspected_policy,
)
from esper_testing.watching.inspected_seeds import inspected_recipe
from esper_testing.watching.inspected_task import InspectedHost, InspectedTask
from esper_testing.watching.inspection import Inspection, explaining


class PluginWatch:
    """Looks at what the plugins of one run do (an `esper_app.execution.watch.Watch`).

    Args:
        level: quick looks closely at a sample of what is called for every batch, full at every call.
    """

    def __init__(self, level: str = "quick") -> None:
        self._inspection = Inspection(level)

    def over(self, assembly: Assembly) -> Assembly:
        """Return the same run under inspection. Raises EsperError E530 for data that are not as the task says."""
        return inspected(assembly, self._inspection)

    def over_sinks(self, sinks: Mapping[str, Sink], registry: Registry) -> dict[str, Sink]:
        """Return the run's sinks under inspection."""
        return inspected_sinks(sinks, registry, self._inspection)

    def explaining(self) -> AbstractContextManager[None]:
        """Where anything fails after a plugin broke its contract, raise what the plugin did (E530)."""
        return explaining(self._inspection)

    def settle(self) -> None:
        """End the run if anything was wrong so far. Raises EsperError E530."""
        self._inspection.settle()

    def summary(self, run_seconds: float) -> dict[str, Any]:
        """Return the account as plain data."""
        return self._inspection.summary(run_seconds)


@frozen(kw_only=True)
class InspectedAssembly(Assembly):
    """The parts of a run, each behind its checks.

    Attributes:
        inspection: the run's account.
    """

    inspection: Inspection

    def policy(self) -> Policy:
        """Build the policy, under inspection."""
        title = _title(self.registry, PolicySpec.kind, self.config.policy.name)
        return inspected_policy(super().policy(), title, self.inspection)


def inspected(assembly: Assembly, inspection: Inspection) -> Assembly:
    """Return the same run under inspection.

    Raises:
        EsperError: E530 for data that are not as the task says.
    """
    config, registry = assembly.config, assembly.registry
    host = _title(registry, HostSpec.kind, config.host.name)
    task = InspectedTask(assembly.task, _title(registry, TaskSpec.kind, config.task.name), host, inspection)
    task.require_sound(assembly.splits)
    gates = registry.gate_set(config.gates.name)
    parts = {field.name: getattr(assembly, field.name) for field in attrs.fields(Assembly)} | {
        "task": task,
        "host": InspectedHost(assembly.host, host, inspection),
        "seed_factories": {
            name: inspected_recipe(seed_factory, _title(registry, BlueprintSpec.kind, name), inspection)
            for name, seed_factory in assembly.seed_factories.items()
        },
        "gates": {
            level: InspectedGate(gate, level, gates[level].title, inspection) for level, gate in assembly.gates.items()
        },
        **{
            which: {
                name: InspectedEvaluator(evaluator, _title(registry, EvaluatorSpec.kind, name), inspection)
                for name, evaluator in getattr(assembly, which).items()
            }
            for which in ("evaluators", "run_evaluators")
        },
        "terms": tuple(
            attrs.evolve(
                term,
                term=InspectedTerm(
                    term.term, term.low, term.high, _title(registry, RewardTermSpec.kind, term.name), inspection
                ),
            )
            for term in assembly.terms
        ),
    }
    return InspectedAssembly(**parts, inspection=inspection)


def inspected_sinks(sinks: Mapping[str, Sink], registry: Registry, inspection: Inspection) -> dict[str, Sink]:
    """Return the run's sinks under inspection."""
    return {
        name: InspectedSink(sink, _title(registry, SinkSpec.kind, name), inspection) for name, sink in sinks.items()
    }


def _title(registry: Registry, kind: str, name: str) -> str:
    return registry.get(kind, name).title
