"""Everything about one run as plain data: markup as a tree, curves as numbers. A page makes elements of it."""

from collections.abc import Iterator
from typing import Any

from attrs import evolve

from esper_app_dashboard.charts import host_charts, reward_chart, round_charts
from esper_core.api import EsperError
from esper_runs.comparison import comparison
from esper_runs.curves import epoch_table
from esper_runs.gate_details import GateDetails, gate_details
from esper_runs.html.markup import MOST_ROWS, Markup, details, element, joined, note, table, tree
from esper_runs.html.swimlanes import swimlanes
from esper_runs.last_round import last_round
from esper_runs.manifest_table import manifest_table
from esper_runs.printing import printable
from esper_runs.record_tables import decision_table, gate_table, governor_table, history_table, reward_table
from esper_runs.result import twin_of
from esper_runs.run_facts import epochs_in_words, run_facts
from esper_runs.run_record import RunRecord
from esper_runs.seed_table import ABLATION_AND_GAIN, seed_table
from esper_runs.several_hosts import are_several, hosts_table, result_in_words
from esper_runs.tables import Table
from esper_runs.timeline_text import timeline_text

#: Hosts are drawn up to this number, and as many gates are explained.
_MOST_HOSTS, _MOST_GATES = 8, 120

#: Of more than this, what happened first is left out. The run's directory has everything.
_MOST_EVENTS = 10_000


def run_view(record: RunRecord) -> dict[str, Any]:
    """Return a run as plain data: ``name``, ``ended``, ``sections`` with ``nodes`` (see `tree`) and ``charts``."""
    whole = record
    record, rounds = last_round(record)
    drawn = _drawn(record, rounds)
    record = evolve(record, timeline=record.timeline[-_MOST_EVENTS:])
    sections = [
        _section("summary", "", _summary(whole)),
        *drawn,
        _section("test", "On the test split", _measured(whole)),
        _section("seeds", "Seeds", _seeds(whole)),
        _section("gates", "Gates", _gates(record)),
        _section("policy", "Policy", _policy(record), [*_policy_charts(whole, record)]),
        _section("governor", "Governor, alerts and notices", _governor(record)),
        _section("history", "History", _history(record)),
        _section("manifest", "Manifest", _folded(manifest_table(whole.manifest), "what was run, with which settings")),
    ]
    name, ended = printable(record.name), f"{whole.outcome}, {epochs_in_words(whole)}"
    return {"name": name, "outcome": printable(whole.outcome), "ended": printable(ended), "sections": sections}


def damaged_view(name: str, error: EsperError) -> dict[str, Any]:
    """Return a run that cannot be read as plain data, of the same shape: what is wrong with it."""
    lines = [note(line, "missing") for line in str(error).splitlines()]
    return {
        "name": printable(name),
        "outcome": "damaged",
        "ended": "damaged",
        "sections": [_section("summary", "", joined(lines))],
    }


def _section(key: str, title: str, markup: Markup, charts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"key": key, "title": title, "nodes": tree(markup), "charts": charts or []}


def _summary(record: RunRecord) -> Markup:
    facts = list(run_facts(record))
    said = ["The run has no result yet."] if record.result is None else result_in_words(record.result, each=True)
    listed = (joined((element("dt", name), element("dd", words))) for name, words in facts if name != "missing")
    return joined(
        (
            *(element("p", words, class_="verdict") for words in said),
            *(note(f"Missing: {words}", "missing") for name, words in facts if name == "missing"),
            details("What ran", element("dl", *listed), data_key="facts"),
        )
    )


def _drawn(record: RunRecord, rounds: int) -> Iterator[dict[str, Any]]:
    hosts = [host for host in record.growing if record.epochs.get(host)]
    left_out = [note(f"Not drawn: {', '.join(hosts[_MOST_HOSTS:])}.")] if hosts[_MOST_HOSTS:] else []
    none = [] if hosts else [note("No epoch is in the log.")]
    several = [note(f"The log holds {rounds:,} rounds. This is the last one.")] if rounds > 1 else []
    lanes: list[Markup] = []
    charts: list[dict[str, Any]] = []
    tables: list[Markup] = []
    for host in hosts[:_MOST_HOSTS]:
        epochs, twin = record.epochs[host], record.epochs.get(twin_of(host), ())
        lanes.append(swimlanes(record, host, epochs) if epochs[-1]["slots"] else note(f"{host} has no slot."))
        charts += host_charts(host, epochs, twin, several=len(hosts) > 1)
        latest, caption = epochs[-MOST_ROWS:], f"{host}, epoch by epoch"
        caption += f", the last {MOST_ROWS}" if len(epochs) > MOST_ROWS else ""
        tables.append(_folded(epoch_table(host, latest, twin), caption, key=f"epochs {host}"))
    yield _section("stages", "Stages", joined([*several, *none, *lanes, *left_out]))
    yield _section("curves", "Curves", joined([*none, *tables, *left_out]), charts)


def _measured(record: RunRecord) -> Markup:
    if record.result is None:
        return note("Nothing was measured yet: there is no result.")
    measured = hosts_table(record.result) if are_several(record.result) else comparison(record.result)
    return table(measured, "measured after the last epoch")


def _seeds(record: RunRecord) -> Markup:
    if not record.seeds:
        return note("No seed is known.")
    seeds = seed_table(record.seeds, several_hosts=len(record.growing) > 1)
    return joined((table(seeds, "what became of each seed", labelled=True), note(ABLATION_AND_GAIN)))


def _gates(record: RunRecord) -> Markup:
    several = len(record.growing) > 1
    found = gate_details(record, _MOST_GATES)
    if not found:
        return note("No gate has been asked.")
    rows = gate_table(record.timeline, several_hosts=several)
    explained = element("div", *(_gate(it, several) for it in found), class_="gates")
    left_out = note("Gates that were asked before these are not explained.") if len(rows.rows) > len(found) else None
    return joined((explained, left_out, _folded(rows, "all gates as a table")))


def _gate(it: GateDetails, several: bool) -> Markup:
    seed = f"{it.host}/{it.seed}" if several else it.seed
    verdict = element("span", "passed" if it.passed else "not passed", class_="good" if it.passed else "warning")
    asked = ", ".join("at the start" if epoch is None else str(epoch + 1) for epoch in it.epochs)
    thresholds = [joined((element("dt", name), element("dd", value))) for name, value in it.thresholds]
    return details(
        joined((element("b", it.gate), " ", verdict, " ", element("span", seed, class_="seed"))),
        element("p", it.words, class_="verdict"),
        element("h4", "Measured"),
        element("ul", *(element("li", words) for words in it.measured)) if it.measured else note("Nothing."),
        element("h4", "Thresholds of this gate"),
        element("dl", *thresholds) if thresholds else note("The gate has none, or the run's settings do not say."),
        note(f"Asked at epoch {asked}."),
        class_="gate",
        data_key=f"{it.host} {it.seed} {it.gate}",
    )


def _policy(record: RunRecord) -> Markup:
    decisions = decision_table(record.timeline, several_hosts=len(record.growing) > 1)
    parts = [_folded(decisions, "what the policy asked for, and why")]
    for host, rewards in [*record.rewards.items()][:_MOST_HOSTS]:
        found = [reward for reward in rewards if reward["epoch"] is not None]
        parts.append(_folded(reward_table(found), f"reward of {host}, term by term", key=f"rewards {host}"))
    if not record.rewards:
        parts.append(note("No reward is in the log: rewards are computed where a run asks for them."))
    return joined(parts)


def _policy_charts(whole: RunRecord, record: RunRecord) -> Iterator[dict[str, Any]]:
    for host, rewards in [*record.rewards.items()][:_MOST_HOSTS]:
        yield from reward_chart(host, rewards, several=len(record.rewards) > 1)
    yield from round_charts(whole)


def _governor(record: RunRecord) -> Markup:
    happened = governor_table(record.timeline, several_hosts=len(record.growing) > 1)
    return (
        table(happened, "interventions, denials and notices", labelled=True)
        if happened.rows
        else note("Nothing happened.")
    )


def _history(record: RunRecord) -> Markup:
    entries = timeline_text(record.timeline)
    rows = history_table(entries[-MOST_ROWS:], several_hosts=len(record.growing) > 1)
    cut = len(entries) > MOST_ROWS or len(record.timeline) == _MOST_EVENTS
    earlier = note("What happened before stands in the run's files: esper show, esper events search.") if cut else None
    return joined((_folded(rows, "what happened, and why"), earlier))


def _folded(data: Table, caption: str, *, key: str = "") -> Markup:
    if not data.rows:
        return note("Nothing is in the log.")
    rows = len(data.rows)
    summary = f"{caption} ({rows:,} {'row' if rows == 1 else 'rows'})"
    return details(summary, table(data, caption, labelled=True), data_key=key or caption)
