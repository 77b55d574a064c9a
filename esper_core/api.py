"""Records and protocols for plugin authors: what the pieces say to each other. Imports no torch."""

from esper_core.leyline.actions import (
    WAIT,
    Action,
    ActionMasks,
    GovernorMode,
    Op,
    Risk,
    Transition,
    Verdict,
)
from esper_core.leyline.actors import NullActor
from esper_core.leyline.catalogue import Catalogue, CatalogueEntry
from esper_core.leyline.errors import EsperError, ExitCode, did_you_mean
from esper_core.leyline.events import Event, EventKind, Level
from esper_core.leyline.evidence import (
    Z_95,
    EpochMetrics,
    Evidence,
    GateResult,
    PairedDifference,
    SeedEvidence,
    paired_difference,
)
from esper_core.leyline.observation import (
    WINDOW_EPOCHS,
    HostSignals,
    LearningCurves,
    Observation,
    SlotSignals,
    SlotState,
)
from esper_core.leyline.protocols import (
    Actor,
    DataShape,
    Gate,
    HostBuild,
    LinearUpdate,
    RewardTerm,
    Sink,
    Split,
    Splits,
    Task,
    TaskKind,
)
from esper_core.leyline.records import plain, to_json
from esper_core.leyline.reports import FieldReport, HostState, RewardBreakdown
from esper_core.leyline.sites import Layout, Site, SiteRequest
from esper_core.leyline.stages import Blend, Cause, GateLevel, Incubation, Stage
from esper_core.leyline.streams import derive_seed

__all__ = [
    "WAIT",
    "WINDOW_EPOCHS",
    "Z_95",
    "Action",
    "ActionMasks",
    "Actor",
    "Blend",
    "Catalogue",
    "CatalogueEntry",
    "Cause",
    "DataShape",
    "EpochMetrics",
    "EsperError",
    "Event",
    "EventKind",
    "Evidence",
    "ExitCode",
    "FieldReport",
    "Gate",
    "GateLevel",
    "GateResult",
    "GovernorMode",
    "HostBuild",
    "HostSignals",
    "HostState",
    "Incubation",
    "Layout",
    "LearningCurves",
    "Level",
    "LinearUpdate",
    "NullActor",
    "Observation",
    "Op",
    "PairedDifference",
    "RewardBreakdown",
    "RewardTerm",
    "Risk",
    "SeedEvidence",
    "Sink",
    "Site",
    "SiteRequest",
    "SlotSignals",
    "SlotState",
    "Split",
    "Splits",
    "Stage",
    "Task",
    "TaskKind",
    "Transition",
    "Verdict",
    "derive_seed",
    "did_you_mean",
    "paired_difference",
    "plain",
    "to_json",
]
