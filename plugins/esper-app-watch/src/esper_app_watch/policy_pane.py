"""What a policy has learned and decided, on the screen, and the rewards of a host."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from esper_app_watch.model import ANOMALY, HEALTH, Shown
from esper_app_watch.panes import newest_rows
from esper_runs.charts import Columns, level_row
from esper_runs.formatting import figure, loss
from esper_runs.record_tables import decision_table, reward_table
from esper_runs.tables import Cell, Column, Table
from esper_runs.terminal import Terminal


def policy(run: Shown, name: str, terminal: Terminal) -> Iterator[RenderableType]:
    """Yield what the policy learned from its rounds, the rewards of a host, and the newest decisions."""
    width = max(10, min(40, terminal.width - 45))
    if run.rounds:
        yield from _learning(run, width, terminal)
        yield Text()
    rewards = run.hosts[name].rewards if name in run.hosts else ()
    if rewards:
        yield terminal.section(f"rewards of {name}", terminal.table(_terms(rewards, width, terminal)))
        yield Text()
        newest = reward_table(rewards[-5:])
        yield terminal.section("its newest rewards", terminal.table(newest))
        yield Text()
    if run.decisions:
        made = [event for event in run.decisions if not run.several or event.host == name]
        newest = newest_rows(decision_table(made))
        yield terminal.section(f"decisions for {name}, the newest first", terminal.table(newest))
    if not run.rounds and not rewards and not run.decisions:
        yield terminal.paragraph("The policy has decided nothing yet, and no reward was computed.")


def _learning(run: Shown, width: int, terminal: Terminal) -> Iterator[RenderableType]:
    last = run.rounds[-1]
    found = ", ".join(f"round {it.number + 1}: {', '.join(it.anomalies)}" for it in run.rounds if it.anomalies)
    style = "bad" if last.anomalies else "warning" if found else "good"
    names = [name for name in last.figures if not name.startswith(ANOMALY)]
    names.sort(key=lambda name: HEALTH.index(name) if name in HEALTH else len(HEALTH))
    rows: list[tuple[Cell | str, ...]] = []
    for host in last.returns:
        series = {it.number: it.returns[host] for it in run.rounds if host in it.returns}
        rows.append((f"return of {host}", figure(last.returns[host], signed=True), _spark(series, width, terminal)))
    for name in names:
        series = {it.number: it.figures[name] for it in run.rounds if name in it.figures}
        rows.append((name, figure(last.figures[name]), _spark(series, width, terminal)))
    columns = (Column("figure"), Column("latest", right=True), Column("over the rounds", spare=True))
    yield terminal.section(
        f"learning, after round {last.number + 1}",
        terminal.paragraph(f"anomalies: {found or 'none'}", style),
        terminal.table(Table(columns=columns, rows=tuple(rows))),
    )


def _terms(rewards: Sequence[Mapping[str, Any]], width: int, terminal: Terminal) -> Table:
    """Each term's latest value and its course."""
    last = rewards[-1]
    columns = (Column("term"), Column("latest", right=True), Column("over the epochs", spare=True))
    rows = []
    for term in (*(last.get("terms") or {}), "total"):
        series = {
            index: value
            for index, reward in enumerate(rewards)
            if isinstance(value := _term(reward, term), int | float)
        }
        rows.append((term, loss(_term(last, term), signed=True), _spark(series, width, terminal)))
    return Table(columns=columns, rows=tuple(rows))


def _term(reward: Mapping[str, Any], term: str) -> Any:
    return reward.get("total") if term == "total" else (reward.get("terms") or {}).get(term)


def _spark(series: Mapping[int, float], width: int, terminal: Terminal) -> str:
    if not series:
        return ""
    return level_row(series, Columns.fit(range(min(series), max(series) + 1), width), terminal).plain
