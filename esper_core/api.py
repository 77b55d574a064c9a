"""Records and protocols for plugin authors: what the pieces say to each other. Imports no torch."""

from esper_core.leyline.actions import (
    WAIT,
    Action,
    ActionMasks,
    GovernorMode,
    Op,
    Transition,
    Verdict,
)
from esper_core.leyline.catalogue import Catalogue, CatalogueEntry
from esper_core.leyline.diagnostics import Diagnostic, Finding, NetworkView
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
from esper_core.leyline.executors import Executor, Host, HostBuilder, HostRunner, Plan
from esper_core.leyline.layouts import Layout
from esper_core.leyline.learning import Decision, Ended, PolicyState, Round, Situation, Step, Trajectory
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
    Evaluator,
    Gate,
    HostBuild,
    Learner,
    LinearUpdate,
    Recurrent,
    RewardTerm,
    Sink,
    Split,
    Splits,
    Stateful,
    TargetKind,
    Task,
    TaskKind,
)
from esper_core.leyline.records import plain, to_json
from esper_core.leyline.reports import ApplyReport, FieldReport, FinalReport, HostReport, HostState, RewardBreakdown
from esper_core.leyline.sites import Site, SiteRequest
from esper_core.leyline.stages import Blend, Cause, GateLevel, Incubation, Stage
from esper_core.leyline.streams import derive_seed
from esper_core.leyline.vital_signs import VitalSigns, Vote
from esper_core.tamiyo.actors import NullActor
from esper_core.tamiyo.policy import Policy

__all__ = [
    "WAIT",
    "WINDOW_EPOCHS",
    "Z_95",
    "Action",
    "ActionMasks",
    "Actor",
    "ApplyReport",
    "Blend",
    "Catalogue",
    "CatalogueEntry",
    "Cause",
    "DataShape",
    "Decision",
    "Diagnostic",
    "Ended",
    "EpochMetrics",
    "EsperError",
    "Evaluator",
    "Event",
    "EventKind",
    "Evidence",
    "Executor",
    "ExitCode",
    "FieldReport",
    "FinalReport",
    "Finding",
    "Gate",
    "GateLevel",
    "GateResult",
    "GovernorMode",
    "Host",
    "HostBuild",
    "HostBuilder",
    "HostReport",
    "HostRunner",
    "HostSignals",
    "HostState",
    "Incubation",
    "Layout",
    "Learner",
    "LearningCurves",
    "Level",
    "LinearUpdate",
    "NetworkView",
    "NullActor",
    "Observation",
    "Op",
    "PairedDifference",
    "Plan",
    "Policy",
    "PolicyState",
    "Recurrent",
    "RewardBreakdown",
    "RewardTerm",
    "Round",
    "SeedEvidence",
    "Sink",
    "Site",
    "SiteRequest",
    "Situation",
    "SlotSignals",
    "SlotState",
    "Split",
    "Splits",
    "Stage",
    "Stateful",
    "Step",
    "TargetKind",
    "Task",
    "TaskKind",
    "Trajectory",
    "Transition",
    "Verdict",
    "VitalSigns",
    "Vote",
    "derive_seed",
    "did_you_mean",
    "paired_difference",
    "plain",
    "to_json",
]
