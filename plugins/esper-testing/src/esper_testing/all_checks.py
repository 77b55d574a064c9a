"""The one list of checks, and the subject that each kind's checks look at."""

from collections.abc import Callable, Mapping
from typing import Any

from esper_core.leyline.specs import Kind
from esper_testing.blueprint_checks import VALUE_CHECKS
from esper_testing.blueprint_masks import MASK_CHECKS
from esper_testing.blueprint_purity import PURITY_CHECKS
from esper_testing.blueprint_subject import BlueprintSubject
from esper_testing.blueprint_tools import TOOL_CHECKS
from esper_testing.blueprint_training import TRAINING_CHECKS
from esper_testing.check import Check
from esper_testing.component_checks import COMPONENT_CHECKS
from esper_testing.gate_checks import GATE_CHECKS
from esper_testing.gate_subject import GateSubject
from esper_testing.host_checks import HOST_CHECKS
from esper_testing.host_subject import HostSubject
from esper_testing.host_tools import TOOL_CHECKS as HOST_TOOL_CHECKS
from esper_testing.plugin_checks import PLUGIN_CHECKS
from esper_testing.policy_checks import POLICY_CHECKS, PolicySubject
from esper_testing.reward_checks import REWARD_CHECKS, RewardTermSubject
from esper_testing.sink_checks import SINK_CHECKS
from esper_testing.sink_subject import SinkSubject
from esper_testing.subject import Subject
from esper_testing.task_checks import TASK_CHECKS
from esper_testing.task_subject import TaskSubject

#: All checks that there are.
CHECKS: tuple[Check, ...] = (
    *PLUGIN_CHECKS,
    *COMPONENT_CHECKS,
    *HOST_CHECKS,
    *HOST_TOOL_CHECKS,
    *VALUE_CHECKS,
    *PURITY_CHECKS,
    *MASK_CHECKS,
    *TRAINING_CHECKS,
    *TOOL_CHECKS,
    *GATE_CHECKS,
    *REWARD_CHECKS,
    *POLICY_CHECKS,
    *SINK_CHECKS,
    *TASK_CHECKS,
)

#: What makes the subject of a component from its descriptor.
SUBJECTS: Mapping[Kind, Callable[..., Subject[Any]]] = {
    Kind.HOST: HostSubject,
    Kind.BLUEPRINT: BlueprintSubject,
    Kind.GATE: GateSubject,
    Kind.REWARD_TERM: RewardTermSubject,
    Kind.POLICY: PolicySubject,
    Kind.SINK: SinkSubject,
    Kind.TASK: TaskSubject,
}
