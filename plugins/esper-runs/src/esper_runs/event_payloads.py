"""What each kind of event holds: the records of the core, and of what it puts together without one.

A test holds every event of a run against these.
"""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from esper_core.leyline.actions import Action, GovernorMode, Transition, Verdict
from esper_core.leyline.events import EventKind, Level
from esper_core.leyline.evidence import Evidence, GateResult
from esper_core.leyline.reports import FieldReport, Rollback
from esper_core.leyline.stages import Stage


@frozen(kw_only=True)
class RunStarted:
    """The run's manifest; the page of the manifest describes all of it. A user's own training has less."""

    name: str
    seed: int
    config: Mapping[str, Any]


@frozen(kw_only=True)
class EpochCompleted(Evidence):
    """An Evidence, and the stage of every slot."""

    slots: Mapping[str, Stage] = field(factory=dict)


@frozen(kw_only=True)
class GatesEvaluated:
    """What the gates in front of a seed's next stage said."""

    slot: str
    seed_id: str | None
    results: tuple[GateResult, ...]


@frozen(kw_only=True)
class RewardComputed:
    """The terms of a reward, weighted, and their sum."""

    terms: Mapping[str, float]
    total: float


@frozen(kw_only=True)
class GovernorIntervened:
    """The governor's new mode, and why."""

    mode: GovernorMode
    reason: str


@frozen(kw_only=True)
class RolledBack(Rollback):
    """A Rollback, and the stage of every slot as it is again."""

    slots: Mapping[str, Stage] = field(factory=dict)


@frozen(kw_only=True)
class Diagnosed:
    """What a diagnostic found: a record of its own."""

    diagnostic: str
    finding: Mapping[str, Any]


@frozen(kw_only=True)
class PluginFailed:
    """What failed: a sink, an observer or a diagnostic; where, and with which error."""

    plugin: str
    place: str
    error: str | None
    disabled: bool = False


@frozen(kw_only=True)
class Alert:
    """That an alert has begun to fire, or is resolved."""

    name: str
    state: str
    severity: str
    labels: Mapping[str, str]
    value: float | None
    since: float
    when: str
    summary: str
    advice: str


@frozen(kw_only=True)
class Notice:
    """Something that a person should know."""

    message: str


@frozen(kw_only=True)
class TelemetryChanged:
    """The level from which on events are told from here on, and why."""

    level: Level
    reason: str


@frozen(kw_only=True)
class RoundFinished:
    """What a policy learned from a round, by name, and the rewards of every host."""

    figures: Mapping[str, float]
    rewards: Mapping[str, tuple[float, ...]]


@frozen(kw_only=True)
class RunFinished:
    """The run's result, as ``result.json`` holds it but for what sinks and observers came to."""

    outcome: str
    hosts: Mapping[str, Mapping[str, Any]]
    seeds: tuple[Mapping[str, Any], ...]
    task: str | None = None
    test_share_of: Mapping[str, Any] | None = None
    difference: Mapping[str, Any] | None = None


#: The record of every kind.
PAYLOADS: Mapping[EventKind, type] = {
    EventKind.RUN_STARTED: RunStarted,
    EventKind.EPOCH_COMPLETED: EpochCompleted,
    EventKind.ACTION_DECIDED: Action,
    EventKind.ACTION_DENIED: Verdict,
    EventKind.SEED_TRANSITION: Transition,
    EventKind.SEED_FINISHED: FieldReport,
    EventKind.GATES_EVALUATED: GatesEvaluated,
    EventKind.REWARD_COMPUTED: RewardComputed,
    EventKind.GOVERNOR_INTERVENED: GovernorIntervened,
    EventKind.ROLLBACK: RolledBack,
    EventKind.DIAGNOSED: Diagnosed,
    EventKind.PLUGIN_FAILED: PluginFailed,
    EventKind.ALERT: Alert,
    EventKind.NOTICE: Notice,
    EventKind.TELEMETRY_CHANGED: TelemetryChanged,
    EventKind.ROUND_FINISHED: RoundFinished,
    EventKind.RUN_FINISHED: RunFinished,
}

#: Kinds whose payload holds more than its record names.
OPEN = frozenset({EventKind.RUN_STARTED, EventKind.RUN_FINISHED})
