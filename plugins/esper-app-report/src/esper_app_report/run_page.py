"""A run on one page: header, how the training went, the timeline, the seeds, and how it ended."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from time import time
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from esper_app_report.training_plot import training_plot
from esper_runs.comparison import comparison, test_figures
from esper_runs.formatting import duration
from esper_runs.result import is_twin
from esper_runs.run_record import UNFINISHED, RunRecord
from esper_runs.seed_table import ABLATION_AND_GAIN, ending, seed_table
from esper_runs.several_hosts import are_several, hosts_table, result_in_words
from esper_runs.terminal import Terminal
from esper_runs.timeline_text import TimelineEntry, timeline_text

_OUTCOMES = {"completed": "good", "interrupted": "warning", "stopped": "bad", UNFINISHED: "warning"}
#: Sections of a configuration whose options are shown with the name of the component.
_COMPONENTS = ("task", "host", "policy")
#: Columns for the epochs of an entry.
_EPOCHS_WIDTH = 11


def run_page(record: RunRecord, part: RunRecord, terminal: Terminal) -> Iterator[RenderableType]:
    """Yield the page of a run, with the training and the timeline of a part of it."""
    yield from separated(_sections(record, part, terminal))


def separated(sections: Iterable[RenderableType]) -> Iterator[RenderableType]:
    """Yield sections with a blank line between them."""
    for number, section in enumerate(sections):
        if number:
            yield Text()
        yield section


def _sections(record: RunRecord, part: RunRecord, terminal: Terminal) -> Iterator[RenderableType]:
    several = len(record.growing) > 1
    yield header(record, terminal)
    yield from (training_plot(part, host, terminal) for host in record.growing if part.epochs.get(host))
    if entries := timeline_text(part.timeline):
        yield terminal.section("timeline", *history(entries, terminal, several_hosts=several))
    if record.seeds:
        seeds = terminal.table(seed_table(record.seeds, several_hosts=several))
        yield terminal.section("seeds", seeds, Text(), terminal.paragraph(ABLATION_AND_GAIN, "dim"))
    if record.result is not None:
        measured = hosts_table(record.result) if are_several(record.result) else comparison(record.result)
        yield terminal.section("on the test split", terminal.table(measured))
        for said in result_in_words(record.result, each=True):
            yield terminal.paragraph(said, "title")


def header(record: RunRecord, terminal: Terminal) -> Group:
    """Return what ran, when, how it ended, and what is missing from the files."""
    facts = [("in short", in_short(record)), *_facts(record), *(("missing", what) for what in record.missing_data)]
    width = max(len(name) for name, _ in facts)
    lines = (
        terminal.paragraph(text, "warning" if name == "missing" else "", lead=f"  {name.ljust(width)}  ")
        for name, text in facts
    )
    return Group(_title(record, terminal), *lines)


def in_short(record: RunRecord) -> str:
    """Say in a line how many seeds there were and how good the network is."""
    ends = Counter(ending(seed) for seed in record.seeds)
    listed = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    number = len(record.seeds)
    if number:
        seeds = f"{number} {'seed' if number == 1 else 'seeds'} germinated ({listed})"
    else:
        known = record.result is not None or record.epochs
        seeds = "no seed germinated" if known else "whether seeds were germinated is not known"
    return f"{seeds}; {test_figures(record.result)}" if record.result is not None else f"{seeds}; no result yet"


def _title(record: RunRecord, terminal: Terminal) -> Text:
    planned = record.config.get("epochs")
    epochs = f"{record.epochs_done} of {planned} epochs" if planned else f"{record.epochs_done} epochs"
    outcome = terminal.text(record.outcome, _OUTCOMES.get(record.outcome, ""))
    return Text.assemble(terminal.text(record.name, "title"), ": ", outcome, f", {epochs}")


def _facts(record: RunRecord) -> Iterator[tuple[str, str]]:
    config, manifest = record.config, record.manifest
    for kind in _COMPONENTS:
        if component := config.get(kind):
            options = [f"{key} = {value}" for key, value in component.items() if key != "name" and value is not None]
            shown = f" ({', '.join(options)})" if options and kind != "policy" else ""
            yield kind, f"{component.get('name')}{shown}"
    if catalogue := manifest.get("catalogue"):
        yield "blueprints", ", ".join(entry["name"] for entry in catalogue)
    # Of a network in somebody's own loop, about which nothing was declared.
    if sites := manifest.get("sites"):
        yield "sites", "; ".join(map(str, sites))
    if measured := (record.result or {}).get("measured"):
        yield "measured", str(measured)
    if len(hosts := manifest.get("hosts") or ()) > 1:
        yield "hosts", ", ".join(f"{host['name']} (seed {host['seed']})" for host in hosts)
        shared = config.get("shared_batches")
        yield "batches", "the same for all hosts" if shared else "each host's own, which its twin shares"
    elif "seed" in manifest:
        yield "seed", str(manifest["seed"])
    if used := [_plugin(entry) for entry in manifest.get("plugins", ()) if entry.get("used")]:
        yield "plugins", ", ".join(used)
    yield "when", ", ".join(_times(record))
    if command := manifest.get("command"):
        yield "command", shlex.join(["esper", *map(str, command[1:])])
    yield "where", record.directory


def _plugin(entry: Mapping[str, Any]) -> str:
    name = entry.get("distribution") or entry.get("file") or entry.get("plugin")
    return " ".join(filter(None, (str(name), entry.get("version"))))


def _times(record: RunRecord) -> Iterator[str]:
    started = record.manifest.get("started")
    began = datetime.fromisoformat(started) if started else None
    if began is not None:
        yield f"started {began.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if resumed := record.manifest.get("resumed"):
        times = "once" if len(resumed) == 1 else f"{len(resumed)} times, most recently"
        yield f"resumed {times} before epoch {resumed[-1]['epoch'] + 1}"
    if began is not None and record.last_event is not None:
        yield f"last event {duration(max(0.0, record.last_event - began.timestamp()))} later"
        if record.outcome == UNFINISHED:
            yield f"which is {duration(max(0.0, time() - record.last_event))} ago"


def history(
    entries: Iterable[TimelineEntry], terminal: Terminal, *, several_hosts: bool = False
) -> Iterator[RenderableType]:
    """Yield the lines of a timeline; `several_hosts` names the hosts too."""
    for entry in entries:
        yield from _entry(entry, terminal, several_hosts)


def _entry(entry: TimelineEntry, terminal: Terminal, several_hosts: bool) -> Iterator[RenderableType]:
    """Figures stand below what rests on them."""
    host = entry.host if several_hosts or is_twin(entry.host) else ""
    who = " ".join(filter(None, (host, entry.about)))
    lead = f"{_epochs(entry):>{_EPOCHS_WIDTH}}  "
    yield terminal.paragraph(f"{who}  {entry.text}" if who else entry.text, entry.style, lead=lead)
    for detail in entry.details:
        yield terminal.paragraph(detail, "dim", lead=" " * (len(lead) + 2), indent=len(lead) + 4)


def _epochs(entry: TimelineEntry) -> str:
    if entry.first is None:
        return ""
    first, last = entry.first + 1, (entry.last or 0) + 1
    return f"epoch {first}" if first == last else f"{first}–{last}"
