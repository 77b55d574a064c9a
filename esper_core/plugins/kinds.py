"""The kinds of components that the core knows, in the order in which they are listed."""

from typing import Any

from esper_core.hooks import RegistrationSpecs
from esper_core.leyline.kinds import PluginKind, Section
from esper_core.leyline.specs import (
    BlueprintSpec,
    ComponentSpec,
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

_BLUEPRINTS = Section(named_at="policy.blueprints", options_at="[blueprints.{name}]", several=True)
_GATES = Section(named_at="gates.name", options_at="[gates.{level}]", several=False)
_REWARDS = Section(named_at="rewards.terms", options_at="[[rewards.terms]]", several=True)
_GOVERNOR = Section(named_at="governor.evaluators", options_at="[governor.{name}]", several=True)
_UNUSED = "no run uses it yet"


def _row(
    spec: type[ComponentSpec],
    hook: str,
    family: str,
    gives: str,
    section: Section | None = None,
    suite: str | None = None,
    **more: Any,
) -> PluginKind:
    return PluginKind(
        spec=spec,
        hook=hook,
        specification=RegistrationSpecs,
        family=family,
        protocol=gives if ":" in gives else f"esper_core.api:{gives}",
        section=section,
        suite=suite and f"esper_testing.{suite}:CONFORMANCE",
        **more,
    )


#: One row for each kind: the descriptor, the hook, the word in the names of distributions, what the factory gives, the
#: place in a configuration, the conformance suite. Collecting, checking, configuration and documentation follow from
#: it; further rows come from installed distributions, see `esper_core.plugins.offered_kinds`.
KINDS: tuple[PluginKind, ...] = (
    _row(HostSpec, "esper_hosts", "host", "HostBuild", Section.of_one("host"), "host_tools"),
    _row(BlueprintSpec, "esper_blueprints", "blueprint", "torch.nn:Module", _BLUEPRINTS, "blueprint_tools"),
    _row(GateSpec, "esper_gates", "gates", "Gate", _GATES, "gate_checks", named_by="gate_set"),
    _row(RewardTermSpec, "esper_reward_terms", "rewards", "RewardTerm", _REWARDS, "reward_checks"),
    _row(PolicySpec, "esper_policies", "policy", "Actor", Section.of_one("policy"), "learner_checks"),
    _row(SinkSpec, "esper_telemetry_sinks", "sink", "Sink", Section.of_several("sinks"), "sink_checks"),
    _row(TaskSpec, "esper_tasks", "task", "Task", Section.of_one("task"), "task_checks"),
    _row(
        ExecutorSpec,
        "esper_executors",
        "executor",
        "Executor",
        Section.of_one("executor"),
        "executor_checks",
        provisional="one executor uses it so far",
    ),
    _row(EvaluatorSpec, "esper_evaluators", "evaluators", "Evaluator", _GOVERNOR, "evaluator_checks"),
    _row(
        DiagnosticSpec,
        "esper_diagnostics",
        "diagnostics",
        "Diagnostic",
        Section.of_several("diagnostics"),
        "diagnostic_checks",
        provisional="one distribution offers one so far",
    ),
)
