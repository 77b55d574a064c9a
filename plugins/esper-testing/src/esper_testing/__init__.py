"""The conformance suite: checks that any plugin or component can be run against, and what they need.

What is named here is imported on first use: the module that pytest imports at every start lies in this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esper_testing.all_checks import CHECKS
    from esper_testing.blueprint_subject import BlueprintSubject
    from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable
    from esper_testing.diagnostic_checks import DiagnosticSubject
    from esper_testing.evaluator_checks import EvaluatorSubject
    from esper_testing.executor_subject import ExecutorSubject
    from esper_testing.gate_subject import GateSubject
    from esper_testing.host_subject import HostSubject
    from esper_testing.plugin_subject import PluginSubject, find_plugins
    from esper_testing.policy_subject import PolicySubject
    from esper_testing.reward_checks import RewardTermSubject
    from esper_testing.runner import run_checks
    from esper_testing.sink_subject import SinkSubject
    from esper_testing.suites import (
        BlueprintSuite,
        DiagnosticSuite,
        EvaluatorSuite,
        ExecutorSuite,
        GateSuite,
        HostSuite,
        PolicySuite,
        RewardTermSuite,
        SinkSuite,
        TaskSuite,
    )
    from esper_testing.task_subject import TaskSubject
    from esper_testing.usage import Usage

_MODULES = {
    "CHECKS": "all_checks",
    "BlueprintSubject": "blueprint_subject",
    "BlueprintSuite": "suites",
    "Check": "check",
    "CheckFailure": "check",
    "CheckLevel": "check",
    "DiagnosticSubject": "diagnostic_checks",
    "DiagnosticSuite": "suites",
    "EvaluatorSubject": "evaluator_checks",
    "EvaluatorSuite": "suites",
    "ExecutorSubject": "executor_subject",
    "ExecutorSuite": "suites",
    "GateSubject": "gate_subject",
    "GateSuite": "suites",
    "HostSubject": "host_subject",
    "HostSuite": "suites",
    "NotApplicable": "check",
    "PluginSubject": "plugin_subject",
    "PolicySubject": "policy_subject",
    "PolicySuite": "suites",
    "RewardTermSubject": "reward_checks",
    "RewardTermSuite": "suites",
    "SinkSubject": "sink_subject",
    "SinkSuite": "suites",
    "TaskSubject": "task_subject",
    "TaskSuite": "suites",
    "Usage": "usage",
    "find_plugins": "plugin_subject",
    "run_checks": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = [
    "CHECKS",
    "BlueprintSubject",
    "BlueprintSuite",
    "Check",
    "CheckFailure",
    "CheckLevel",
    "DiagnosticSubject",
    "DiagnosticSuite",
    "EvaluatorSubject",
    "EvaluatorSuite",
    "ExecutorSubject",
    "ExecutorSuite",
    "GateSubject",
    "GateSuite",
    "HostSubject",
    "HostSuite",
    "NotApplicable",
    "PluginSubject",
    "PolicySubject",
    "PolicySuite",
    "RewardTermSubject",
    "RewardTermSuite",
    "SinkSubject",
    "SinkSuite",
    "TaskSubject",
    "TaskSuite",
    "Usage",
    "find_plugins",
    "run_checks",
]
