"""A run's record on one page: header, stages, the course of the training, what happened, seeds, and how it ended."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from time import time
from typing import Any

from esper_app_report.terminal import Terminal
from esper_app_report.training_plot import training_plot
from esper_runs.formatting import duration
from esper_runs.run_record import TWIN, UNFINISHED, RunRecord
from esper_runs.seed_table import ABLATION_AND_GAIN, ending, seed_table
from esper_runs.timeline_text import TimelineEntry, timeline_text
from esper_runs.verdict import accuracies, comparison, verdict

_OUTCOMES = {"completed": "good", "interrupted": "warning", "stopped": "bad", UNFINISHED: "warning"}
#: Sections of a configuration whose options are told with the component's name.
_COMPONENTS = ("task", "host", "policy")


def run_page(record: RunRecord, part: RunRecord, terminal: Terminal) -> str:
    """Return the page of a record, with the course of the training and what happened in a part of it."""
    several = len(record.growing) > 1
    parts = [header(record, terminal)]
    parts += [training_plot(part, host, terminal) for host in record.growing if part.epochs.get(host)]
    if entries := timeline_text(part.timeline):
        parts.append(section("what happened", history(entries, terminal, several_hosts=several), terminal))
    if record.seeds:
        explained = terminal.paint(terminal.wrap(ABLATION_AND_GAIN), "dim")
        parts.append(section("seeds", f"{seed_table(record.seeds, several_hosts=several)}\n\n{explained}", terminal))
    if record.result is not None:
        parts.append(section("on the test split", comparison(record.result), terminal))
        parts.append(terminal.paint(terminal.wrap(verdict(record.result)), "title"))
    return terminal.finish("\n\n".join(parts))


def header(record: RunRecord, terminal: Terminal) -> str:
    """Return what ran, when, how it ended, and what the files do not tell."""
    facts = [("in short", in_short(record)), *_facts(record), *(("missing", gap) for gap in record.missing_data)]
    width = max(len(name) for name, _ in facts)
    lines = [_title(record, terminal)]
    for name, text in facts:
        line = terminal.wrap(f"{name.ljust(width)}  {text}", 2, width + 2)
        lines.append(terminal.paint(line, "warning") if name == "missing" else line)
    return "\n".join(lines)


def in_short(record: RunRecord) -> str:
    """Say in a line what was grown and what came of it."""
    ends = Counter(ending(seed) for seed in record.seeds)
    grown = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    number = len(record.seeds)
    if number:
        seeds = f"{number} {'seed' if number == 1 else 'seeds'} germinated ({grown})"
    else:
        told = record.result is not None or record.epochs
        seeds = "no seed germinated" if told else "whether seeds were germinated is not known"
    return f"{seeds}; {accuracies(record.result)}" if record.result is not None else f"{seeds}; no result yet"


def _title(record: RunRecord, terminal: Terminal) -> str:
    planned = record.config.get("epochs")
    epochs = f"{record.epochs_done} of {planned} epochs" if planned else f"{record.epochs_done} epochs"
    outcome = terminal.paint(record.outcome, _OUTCOMES.get(record.outcome, ""))
    return f"{terminal.paint(record.name, 'title')}: {outcome}, {epochs}"


def _facts(record: RunRecord) -> Iterator[tuple[str, str]]:
    config, manifest = record.config, record.manifest
    for kind in _COMPONENTS:
        if component := config.get(kind):
            options = [f"{key} = {value}" for key, value in component.items() if key != "name" and value is not None]
            shown = f" ({', '.join(options)})" if options and kind != "policy" else ""
            yield kind, f"{component.get('name')}{shown}"
    if catalogue := manifest.get("catalogue"):
        yield "blueprints", ", ".join(entry["name"] for entry in catalogue)
    if "seed" in manifest:
        yield "seed", str(manifest["seed"])
    if used := [_plugin(entry) for entry in manifest.get("plugins", ()) if entry.get("used")]:
        yield "plugins", ", ".join(used)
    yield "when", ", ".join(_times(record))
    if command := manifest.get("command"):
        yield "command", " ".join(["esper", *map(str, command[1:])])
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
        times = "once" if len(resumed) == 1 else f"{len(resumed)} times, at last"
        yield f"resumed {times} before epoch {resumed[-1]['epoch'] + 1}"
    if began is not None and record.last_event is not None:
        yield f"last event {duration(max(0.0, record.last_event - began.timestamp()))} later"
        if record.outcome == UNFINISHED:
            yield f"which is {duration(max(0.0, time() - record.last_event))} ago"


def section(title: str, text: str, terminal: Terminal) -> str:
    """Return a text below its title."""
    return f"{terminal.paint(title, 'title')}\n{text}"


def history(entries: Iterable[TimelineEntry], terminal: Terminal, *, several_hosts: bool = False) -> str:
    """Return the lines of a timeline_text; `several_hosts` names the hosts too."""
    return "\n".join(_entry(entry, terminal, several_hosts) for entry in entries)


def _entry(entry: TimelineEntry, terminal: Terminal, several_hosts: bool) -> str:
    """Figures stand below what rests on them."""
    lead = f"{_epochs(entry):>11}  "
    host = entry.host if several_hosts or entry.host == TWIN else ""
    who = " ".join(filter(None, (host, entry.about)))
    lines = [terminal.paint(terminal.wrap(f"{lead}{who + '  ' if who else ''}{entry.text}", 0, len(lead)), entry.style)]
    lines += [terminal.paint(terminal.wrap(detail, len(lead) + 2, 2), "dim") for detail in entry.details]
    return "\n".join(lines)


def _epochs(entry: TimelineEntry) -> str:
    if entry.first is None:
        return ""
    first, last = entry.first + 1, (entry.last or 0) + 1
    return f"epoch {first}" if first == last else f"{first}–{last}"
