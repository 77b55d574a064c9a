"""Descriptors for plugin authors: what a plugin offers. Imports no torch."""

from esper_core.leyline.kinds import PluginKind, Section
from esper_core.leyline.layouts import Layout
from esper_core.leyline.specs import (
    BlueprintSpec,
    Capability,
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
from esper_core.leyline.stages import GateLevel

__all__ = [
    "BlueprintSpec",
    "Capability",
    "ComponentSpec",
    "DiagnosticSpec",
    "EvaluatorSpec",
    "ExecutorSpec",
    "GateLevel",
    "GateSpec",
    "HostSpec",
    "Layout",
    "PluginKind",
    "PolicySpec",
    "RewardTermSpec",
    "Section",
    "SinkSpec",
    "TaskSpec",
]
