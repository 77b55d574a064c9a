"""Descriptors for plugin authors: what a plugin offers. Imports no torch."""

from esper_core.leyline.sites import Layout
from esper_core.leyline.specs import (
    BlueprintSpec,
    Capability,
    ComponentSpec,
    GateSpec,
    HostSpec,
    Kind,
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
    "GateLevel",
    "GateSpec",
    "HostSpec",
    "Kind",
    "Layout",
    "PolicySpec",
    "RewardTermSpec",
    "SinkSpec",
    "TaskSpec",
]
