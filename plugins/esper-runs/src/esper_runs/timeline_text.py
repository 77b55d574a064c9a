"""The timeline of a run as entries for people: what belongs together stands in one entry."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field

from esper_core.leyline.actions import Op
from esper_core.leyline.events import EventKind
from esper_core.leyline.stages import Cause, Stage
from esper_runs.formatting import evidence_in_words, loss
from esper_runs.timeline import TimelineEvent

_STYLES = {Stage.CULLED.name: "bad", Stage.FOSSILIZED.name: "good"}


@define(kw_only=True)
class TimelineEntry:
    """One entry of the chronicle.

    Attributes:
        host: the host; "" for the run as a whole.
        first, last: the epochs that it covers, from 0; None outside of epochs.
        about: the seed or slot that it is about; "" for the host or the run.
        text: what happened, and why.
        details: further lines: gates with their evidence.
        style: of the text.
    """

    host: str
    first: int | None
    last: int | None
    about: str
    text: str
    details: list[str] = field(factory=list)
    style: str = ""

    @property
    def epochs(self) -> str:
        """The epochs that it covers, counted from 1; "" outside of epochs."""
        if self.first is None:
            return ""
        first, last = self.first + 1, (self.last or 0) + 1
        return f"epoch {first}" if first == last else f"{first}–{last}"


def timeline_text(happened: Sequence[TimelineEvent], *, every_verdict: bool = False) -> list[TimelineEntry]:
    """Describe what happened, oldest first.

    An action stands with the transitions that it caused; waiting for one reason several times in a row is one entry.

    Args:
        happened: what happened.
        every_verdict: include every verdict of a gate with its evidence; otherwise those behind a transition, and how
            often a gate was not passed.
    """
    writer = _Writer(happened, every_verdict)
    for event in happened:
        writer.write(event)
    return writer.entries


class _Writer:
    """Remembers which entries may go on: waiting, and gates that are not passed."""

    def __init__(self, happened: Iterable[TimelineEvent], every_verdict: bool) -> None:
        self.entries: list[TimelineEntry] = []
        self._every_verdict = every_verdict
        self._actions: dict[str | None, TimelineEvent] = {}
        self._answered: set[str | None] = set()
        for event in happened:
            if event.kind == EventKind.ACTION_DECIDED:
                self._actions[event.data["id"]] = event
            elif event.kind in (EventKind.SEED_TRANSITION, EventKind.ACTION_DENIED):
                self._answered.add(event.data.get("action_id"))
        self._waiting: dict[str, tuple[str, TimelineEntry]] = {}
        self._failing: dict[tuple[str, str], tuple[str, int, TimelineEntry]] = {}
        self._shown: list[Mapping[str, Any]] = []

    def write(self, event: TimelineEvent) -> None:
        """Add an entry for an event, or let an earlier one cover it."""
        writers: dict[str, Callable[[TimelineEvent], None]] = {
            EventKind.ACTION_DECIDED: self._action,
            EventKind.ACTION_DENIED: self._denial,
            EventKind.SEED_TRANSITION: self._transition,
            EventKind.GATES_EVALUATED: self._verdict,
        }
        if write := writers.get(event.kind):
            write(event)
        elif words := NOTES.get(event.kind):
            self._add(event, words(event.data), style="warning")

    def _add(self, event: TimelineEvent, text: str, details: Iterable[str] = (), style: str = "") -> TimelineEntry:
        about = event.seed_id or event.slot or ""
        entry = TimelineEntry(host=event.host, first=event.epoch, last=event.epoch, about=about, text=text, style=style)
        entry.details += details
        self.entries.append(entry)
        return entry

    def _action(self, event: TimelineEvent) -> None:
        if event.data["op"] == Op.WAIT.name:
            self._wait(event)
            return
        self._waiting.pop(event.host, None)
        if event.data["id"] not in self._answered:
            self._add(event, f"{asked_text(event.data)}; its effect is not in the log")

    def _wait(self, event: TimelineEvent) -> None:
        reason = event.data["reason"]
        # Reasons with other figures in them are the same reason.
        template = re.sub(r"\d+(\.\d+)?", "#", reason)
        before, entry = self._waiting.get(event.host, ("", None))
        if entry is None or before != template:
            entry = self._add(event, f"waits: {reason}", style="dim")
            self._waiting[event.host] = template, entry
        elif not entry.text.endswith(reason):
            entry.text = f"{entry.text.partition(' … ')[0]} … {reason}"
        entry.last = event.epoch

    def _denial(self, event: TimelineEvent) -> None:
        self._add(event, denial_text(event.data), style="warning")

    def _transition(self, event: TimelineEvent) -> None:
        data = event.data
        self._failing.pop((event.host, data["seed_id"]), None)
        asked = self._actions.get(data.get("action_id"))
        text = transition_text(data) + (_extras(asked.data) if asked is not None else "")
        details = [line for gate in data.get("gates", ()) if gate not in self._shown for line in verdict_lines(gate)]
        style = "dim" if data["cause"] == Cause.COOLDOWN else _STYLES.get(data["target"], "")
        self._add(event, text, details, style)

    def _verdict(self, event: TimelineEvent) -> None:
        gate = event.data
        if self._every_verdict:
            self._shown.append(gate)
            first, *details = verdict_lines(gate)
            self._add(event, f"after the epoch: {first}", details)
            return
        key = (event.host, event.seed_id or event.slot or "")
        level, times, entry = self._failing.pop(key, ("", 0, None))
        if gate["passed"]:
            return
        if entry is None or level != gate["gate"]:
            times, entry = 0, self._add(event, "", style="dim")
        often = f"not passed {times + 1} times, most recently" if times else "not passed"
        entry.text = f"{gate['gate']} {often}: {gate['reason']}{_harm(gate)}"
        entry.details = [evidence_in_words(gate["evidence"])]
        entry.last = event.epoch
        self._failing[key] = gate["gate"], times + 1, entry


def verdict_lines(gate: Mapping[str, Any]) -> list[str]:
    """Describe one verdict of a gate: what it said and why, and the figures that it rests on."""
    verdict = f"{gate['gate']} {'passed' if gate['passed'] else 'not passed'}: {gate['reason']}{_harm(gate)}"
    return [verdict, evidence_in_words(gate["evidence"])] if gate["evidence"] else [verdict]


def _harm(gate: Mapping[str, Any]) -> str:
    return " (the seed is harmful)" if gate.get("harmful") else ""


def asked_text(action: Mapping[str, Any]) -> str:
    """Describe what an action asks for, and why."""
    parts = [action["op"].lower(), action["blueprint"], f"in {action['slot']}" if action["slot"] else None]
    return " ".join(part for part in parts if part) + (f" ({action['reason']})" if action["reason"] else "")


def _extras(action: Mapping[str, Any]) -> str:
    parts = [f"blend {action['blend']}"] if action.get("blend") else []
    if action.get("ramp_epochs") is not None:
        parts.append(f"ramp of {action['ramp_epochs']} epochs")
    if action.get("confidence") is not None:
        parts.append(f"confidence {loss(action['confidence'])}")
    return f" ({', '.join(parts)})" if parts else ""


def denial_text(denial: Mapping[str, Any]) -> str:
    """Describe a denial of the governor; `action`, where it is known, is the action that was denied."""
    action = denial.get("action")
    asked = asked_text(action) if action else f"action {denial.get('action_id')}"
    return f"the governor denied: {asked}. Its reason: {denial['reason']}"


def rollback_text(rollback: Mapping[str, Any]) -> str:
    """Describe a rollback, and why the host was rolled back."""
    state = f"the state after epoch {rollback['to_epoch'] + 1}"
    return f"the governor rolled the host back to {state} (attempt {rollback['attempt']}): {rollback['reason']}"


def alert_text(alert: Mapping[str, Any]) -> str:
    """Describe an alert: what is the matter, when it fires, and what to do; or that it is over."""
    if alert["state"] != "firing":
        return f"alert {alert['name']} is resolved: {alert['summary']}"
    text = f"alert {alert['name']} ({alert['severity']}): {alert['summary']}"
    return f"{text}. It fires when {alert['when']}. {alert['advice']}"


def transition_text(transition: Mapping[str, Any]) -> str:
    """Describe what became of a seed, and why."""
    text = f"{transition['blueprint']}: {transition['source']} → {transition['target']}"
    cause, reason = transition.get("cause"), transition.get("reason")
    if not cause or cause == Cause.COOLDOWN:
        return text
    return f"{text}, by {cause}: {reason}" if reason else f"{text}, by {cause}"


#: How events are described that are about no seed.
NOTES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    EventKind.GOVERNOR_INTERVENED: lambda data: f"the governor is {data['mode']}: {data['reason'] or 'all is well'}",
    EventKind.ROLLBACK: lambda data: rollback_text(data),
    EventKind.PLUGIN_FAILED: lambda data: f"plugin {data['plugin']} failed in {data['place']}: {data['error']}",
    EventKind.ALERT: lambda data: alert_text(data),
    EventKind.NOTICE: lambda data: str(data["message"]),
    EventKind.TELEMETRY_CHANGED: lambda data: f"the telemetry level is {str(data['level']).lower()}: {data['reason']}",
}
