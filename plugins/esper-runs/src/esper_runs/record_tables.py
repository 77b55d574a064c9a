"""A run's record as tables: its history, its gates, what the policy decided, the governor, and rewards."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define

from esper_core.leyline.events import EventKind
from esper_runs.formatting import MISSING, evidence_in_words, loss, whole
from esper_runs.result import is_twin
from esper_runs.tables import Cell, Column, Table
from esper_runs.timeline import TimelineEvent
from esper_runs.timeline_text import NOTES, TimelineEntry, denial_text, verdict_lines


def history_table(entries: Iterable[TimelineEntry], *, several_hosts: bool = False) -> Table:
    """Return a row for each entry of a timeline; `several_hosts` names the hosts too."""
    columns = (Column("epochs"), Column("about"), Column("what happened", prose=True), Column("evidence", prose=True))
    rows = []
    for entry in entries:
        host = entry.host if several_hosts or is_twin(entry.host) else ""
        about = " ".join(filter(None, (host, entry.about)))
        rows.append((entry.epochs, about, Cell(entry.text, entry.style), "; ".join(entry.details)))
    return Table(columns=columns, rows=tuple(rows))


@define
class _Judged:
    passed: int
    failed: int
    first: int | None
    last: int | None
    gate: Mapping[str, Any]


class GateHistory:
    """How often each gate of each seed passed, and its latest verdict; it is shown a timeline event by event.

    Args:
        longest: of how many gates it remembers the history; those that were judged first are forgotten. None: of all.
    """

    def __init__(self, longest: int | None = None) -> None:
        self._judged: dict[tuple[str, str, str], _Judged] = {}
        self._longest = longest

    def take(self, event: TimelineEvent) -> None:
        """Take what happened in."""
        if event.kind == EventKind.GATES_EVALUATED:
            self._judge(event, event.data)
        elif event.kind == EventKind.SEED_TRANSITION:
            for gate in event.data.get("gates") or ():
                before = self._judged.get((event.host, event.seed_id or "", str(gate["gate"])))
                # The verdict after an epoch stands in the transition that follows as well.
                if before is None or before.gate != gate:
                    self._judge(event, gate)

    def table(self, *, several_hosts: bool = False, host: str | None = None) -> Table:
        """Return a row for each gate of each seed, those that were judged first at the top; `host`: of this one."""
        columns = (
            Column("seed"),
            Column("gate"),
            *(Column(title, right=True) for title in ("epochs", "passed", "not passed")),
            Column("latest verdict", prose=True),
            Column("evidence", prose=True),
        )
        rows = []
        for (name, seed, level), it in self._judged.items():
            if host not in (None, name):
                continue
            style = "good" if it.gate["passed"] else "warning"
            epochs = span_in_words(it.first, it.last)
            words = Cell(verdict_lines({**it.gate, "evidence": {}})[0], style)
            evidence = evidence_in_words(it.gate.get("evidence") or {}) or MISSING
            shown = f"{name}/{seed}" if several_hosts else seed
            rows.append((shown, level, epochs, whole(it.passed), whole(it.failed), words, evidence))
        return Table(columns=columns, rows=tuple(rows))

    def _judge(self, event: TimelineEvent, gate: Mapping[str, Any]) -> None:
        key = (event.host, event.seed_id or event.slot or "", str(gate["gate"]))
        it = self._judged.setdefault(key, _Judged(0, 0, event.epoch, event.epoch, gate))
        it.passed += bool(gate["passed"])
        it.failed += not gate["passed"]
        it.last, it.gate = event.epoch, gate
        if self._longest is not None and len(self._judged) > self._longest:
            del self._judged[next(iter(self._judged))]


def gate_table(happened: Sequence[TimelineEvent], *, several_hosts: bool = False) -> Table:
    """Return a row for each gate of each seed: how often it passed, and its latest verdict with the evidence."""
    history = GateHistory()
    for event in happened:
        history.take(event)
    return history.table(several_hosts=several_hosts)


def decision_table(happened: Sequence[TimelineEvent], *, several_hosts: bool = False) -> Table:
    """Return a row for each decision of the policy, with the governor's answer; equal ones in a row share a row."""
    denied = {e.data.get("action_id"): e.data for e in happened if e.kind == EventKind.ACTION_DENIED}
    found: list[tuple[int | None, int | None, tuple[str, ...]]] = []
    for event in happened:
        if event.kind != EventKind.ACTION_DECIDED:
            continue
        action = event.data
        denial = denied.get(action.get("id"))
        cells = (
            *((event.host,) if several_hosts else ()),
            str(action["op"]).lower(),
            str(action.get("slot") or MISSING),
            str(action.get("blueprint") or MISSING),
            loss(action.get("confidence")),
            str(action.get("reason") or MISSING),
            f"denied: {denial['reason']}" if denial else "",
        )
        if found and found[-1][2] == cells:
            found[-1] = (found[-1][0], event.epoch, cells)
        else:
            found.append((event.epoch, event.epoch, cells))
    columns = (
        Column("epochs", right=True),
        *((Column("host"),) if several_hosts else ()),
        Column("operation"),
        Column("slot"),
        Column("blueprint"),
        Column("confidence", right=True),
        Column("reason", prose=True),
        Column("governor", prose=True),
    )
    return Table(columns=columns, rows=tuple((span_in_words(first, last), *cells) for first, last, cells in found))


def governor_table(happened: Sequence[TimelineEvent], *, several_hosts: bool = False) -> Table:
    """Return a row for everything that the governor did, for plugins that failed, and for notices."""
    rows = []
    for event in happened:
        if event.kind == EventKind.ACTION_DENIED:
            words = denial_text(event.data)
        elif event.kind in NOTES:
            words = NOTES[event.kind](event.data)
        else:
            continue
        about = event.host if several_hosts or is_twin(event.host) else ""
        rows.append((span_in_words(event.epoch, event.epoch), about, Cell(words, "warning")))
    columns = (Column("epoch", right=True), Column("host"), Column("what happened", prose=True))
    return Table(columns=columns, rows=tuple(rows))


def reward_table(rewards: Sequence[Mapping[str, Any]]) -> Table:
    """Return a row for each reward: its terms and their sum."""
    terms = list(dict.fromkeys(str(term) for reward in rewards for term in reward.get("terms") or {}))
    columns = (Column("epoch", right=True), *(Column(term, right=True) for term in (*terms, "total")))
    rows = tuple(
        (
            span_in_words(reward.get("epoch"), reward.get("epoch")),
            *(loss((reward.get("terms") or {}).get(term), signed=True) for term in terms),
            loss(reward.get("total"), signed=True),
        )
        for reward in rewards
    )
    return Table(columns=columns, rows=rows)


def span_in_words(first: int | None, last: int | None) -> str:
    """Write a span of epochs, which are counted from 0 in the files and from 1 for people."""
    if first is None or last is None:
        return MISSING
    return str(first + 1) if first == last else f"{first + 1}–{last + 1}"
