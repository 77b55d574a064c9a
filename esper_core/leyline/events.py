"""Telemetry events and levels."""

from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen


class Level(IntEnum):
    """How much telemetry is wanted; an event is delivered if its level is not above the wanted one."""

    OFF = 0
    MINIMAL = 1
    NORMAL = 2
    DEBUG = 3


class EventKind(StrEnum):
    """Everything that can be observed of a run. Event data are plain values (see `records.plain`)."""

    RUN_STARTED = "run_started"  # the manifest
    EPOCH_COMPLETED = "epoch_completed"  # an Evidence and `slots`, {slot: stage name}
    ACTION_DECIDED = "action_decided"  # an Action
    ACTION_DENIED = "action_denied"  # a Verdict
    SEED_TRANSITION = "seed_transition"  # a Transition
    SEED_FINISHED = "seed_finished"  # a FieldReport
    GATES_EVALUATED = "gates_evaluated"  # slot, seed_id and `results`, a list of GateResult
    REWARD_COMPUTED = "reward_computed"  # a RewardBreakdown
    GOVERNOR_INTERVENED = "governor_intervened"  # mode, reason
    ROLLBACK = "rollback"  # a Rollback
    DIAGNOSED = "diagnosed"  # diagnostic, and `finding`, what it found
    PLUGIN_FAILED = "plugin_failed"  # plugin, place, error
    ALERT = "alert"  # name, state, severity, labels, value, when, summary, advice
    NOTICE = "notice"  # message: something that a person should know
    TELEMETRY_CHANGED = "telemetry_changed"  # level, the present one, and reason
    ROUND_FINISHED = "round_finished"  # `figures` of learning from it, by name; `rewards`, {host: list of floats}
    RUN_FINISHED = "run_finished"  # the result


#: The level of each kind; what is not listed is NORMAL.
LEVELS: Mapping[str, Level] = {
    EventKind.RUN_STARTED: Level.MINIMAL,
    EventKind.ROUND_FINISHED: Level.MINIMAL,
    EventKind.RUN_FINISHED: Level.MINIMAL,
    EventKind.SEED_TRANSITION: Level.MINIMAL,
    EventKind.SEED_FINISHED: Level.MINIMAL,
    EventKind.TELEMETRY_CHANGED: Level.MINIMAL,
    EventKind.GOVERNOR_INTERVENED: Level.MINIMAL,
    EventKind.ROLLBACK: Level.MINIMAL,
    EventKind.PLUGIN_FAILED: Level.MINIMAL,
    EventKind.ALERT: Level.MINIMAL,
    EventKind.NOTICE: Level.MINIMAL,
    # EPOCH_COMPLETED holds every verdict already; these would add a tenth to a log.
    EventKind.GATES_EVALUATED: Level.DEBUG,
}


@frozen(kw_only=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: what; a kind that a plugin has registered has its namespace in front of it, as in ``forge.kept``.
        host: name of the host in the run; "" for the run as a whole.
        epoch: host epoch, from 0; None outside of epochs.
        round: number of the round, from 0.
        data: plain values; their meaning depends on the kind.
        sequence: number of the event in the run, from 0; the hub fills in this and all that follow.
        time: seconds since 1970 in UTC.
        monotonic: seconds of a clock that never goes back, from the beginning of the process's part in the run.
        run: name of the run.
        slot, seed_id: what `data` says of them; None where it says nothing.
    """

    kind: EventKind | str
    host: str = ""
    epoch: int | None = None
    round: int = 0
    data: Mapping[str, Any] = field(factory=dict)
    sequence: int = -1
    time: float = 0.0
    monotonic: float = 0.0
    run: str = ""
    slot: str | None = None
    seed_id: str | None = None

    @property
    def level(self) -> Level:
        """The telemetry level from which on this event is delivered."""
        return LEVELS.get(self.kind, Level.NORMAL)


@runtime_checkable
class TellsRun(Protocol):
    """A sink that adds events to the run, such as alerts."""

    def connect(self, tell: Callable[[Event], None]) -> None:
        """Learn, before `open`, how to add an event of the kind `alert` or `notice`; any thread may call it.

        The event is numbered with the run's next one, or when the sinks are flushed. The sink is handed it as well.
        """
        ...
