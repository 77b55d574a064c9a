"""The kinds of components that the core knows, in the order in which they are listed."""

from functools import partial

from esper_core.hooks import RegistrationSpecs
from esper_core.leyline.kinds import PluginKind, Section
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

_row = partial(PluginKind, specification=RegistrationSpecs)
_UNUSED = "no run uses it yet"

#: One row for each kind. Collecting, checking, configuration, documentation and conformance follow from it; further
#: rows come from installed distributions, see `esper_core.plugins.offered_kinds`.
KINDS: tuple[PluginKind, ...] = (
    _row(
        spec=HostSpec,
        hook="esper_hosts",
        family="host",
        protocol="esper_core.api:HostBuild",
        section=Section.of_one("host"),
        suite="esper_testing.host_tools:CONFORMANCE",
    ),
    _row(
        spec=BlueprintSpec,
        hook="esper_blueprints",
        family="blueprint",
        protocol="torch.nn:Module",
        section=Section(named_at="policy.blueprints", options_at="[blueprints.{name}]", several=True),
        suite="esper_testing.blueprint_tools:CONFORMANCE",
    ),
    _row(
        spec=GateSpec,
        hook="esper_gates",
        family="gates",
        protocol="esper_core.api:Gate",
        section=Section(named_at="gates.name", options_at="[gates.{level}]", several=False),
        named_by="gate_set",
        suite="esper_testing.gate_checks:CONFORMANCE",
    ),
    _row(
        spec=RewardTermSpec,
        hook="esper_reward_terms",
        family="rewards",
        protocol="esper_core.api:RewardTerm",
        section=Section(named_at="rewards.terms", options_at="[[rewards.terms]]", several=True),
        suite="esper_testing.reward_checks:CONFORMANCE",
    ),
    _row(
        spec=PolicySpec,
        hook="esper_policies",
        family="policy",
        protocol="esper_core.api:Actor",
        section=Section.of_one("policy"),
        suite="esper_testing.learner_checks:CONFORMANCE",
    ),
    _row(
        spec=SinkSpec,
        hook="esper_telemetry_sinks",
        family="sink",
        protocol="esper_core.api:Sink",
        section=Section.of_several("sinks"),
        suite="esper_testing.sink_checks:CONFORMANCE",
    ),
    _row(
        spec=TaskSpec,
        hook="esper_tasks",
        family="task",
        protocol="esper_core.api:Task",
        section=Section.of_one("task"),
        suite="esper_testing.task_checks:CONFORMANCE",
    ),
    _row(
        spec=ExecutorSpec,
        hook="esper_executors",
        family="executor",
        protocol="esper_core.api:Executor",
        section=Section.of_one("executor"),
        suite="esper_testing.executor_checks:CONFORMANCE",
        provisional="one executor uses it so far",
    ),
    _row(
        spec=EvaluatorSpec,
        hook="esper_evaluators",
        family="evaluator",
        protocol="esper_core.api:Evaluator",
        provisional=_UNUSED,
    ),
    _row(
        spec=DiagnosticSpec,
        hook="esper_diagnostics",
        family="diagnostic",
        protocol="esper_core.api:Diagnostic",
        provisional=_UNUSED,
    ),
)
