"""What a run was, in short texts: every page and report about it begins with them."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from time import time
from typing import Any

from esper_runs.comparison import test_figures
from esper_runs.formatting import duration, flops, metrics
from esper_runs.result import UNFINISHED
from esper_runs.run_record import RunRecord
from esper_runs.seed_table import ending

#: Sections of a configuration whose options are shown with the name of the component.
_COMPONENTS = ("task", "host", "policy")


def epochs_in_words(record: RunRecord) -> str:
    """Say how many epochs are over, and of how many."""
    planned = record.config.get("epochs")
    return f"{record.epochs_done} of {planned} epochs" if planned else f"{record.epochs_done} epochs"


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
    if record.result is None:
        return f"{seeds}; no result yet"
    figures = test_figures(record.result) or ", ".join(_last_validations(record))
    return f"{seeds}; {figures}" if figures else seeds


def _last_validations(record: RunRecord) -> Iterator[str]:
    """What is known of a training in somebody's own loop, which has no test split."""
    for host in record.growing:
        if (epochs := record.epochs.get(host)) and epochs[-1].get("validation") is not None:
            yield f"{host}: validation {metrics(epochs[-1]['validation'])}"


def run_facts(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield what ran, when and how it ended: pairs of a name and a text, ``missing`` for what the files lack."""
    yield "in short", in_short(record)
    yield from _facts(record)
    yield from (("missing", what) for what in record.missing_data)


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
    if budget := config.get("flops"):
        yield "budget", f"{flops(budget)} for each host"
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
