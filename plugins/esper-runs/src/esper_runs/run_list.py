"""The runs in a directory: found by name, and summed up for a list."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from attrs import fields, frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_runs.formatting import as_number
from esper_runs.reading import parse_json, parse_members, parse_object, read_regular, refuse_links, refuse_other_kinds
from esper_runs.result import TWIN, UNFINISHED, is_twin, pair_results
from esper_runs.run_directory import EVENTS, LAST, MANIFEST, RESULT, RUNS, RunDirectory, find_run, read_last

#: The outcome of a directory whose manifest or result cannot be read.
DAMAGED = "damaged"

#: The end of an event log tells how far a run has come.
_TAIL_BYTES = 1 << 16


@frozen(kw_only=True)
class RunSummary:
    """One run. What is not known is None.

    Attributes:
        name: the run's name.
        directory: where it is.
        task, policy, seed: what ran.
        outcome: ``completed``, ``interrupted``, ``stopped``, ``unfinished`` or ``damaged``.
        epochs, planned_epochs: completed and planned ones.
        hosts: how many networks grow.
        accuracy, twin_accuracy: on the test split, 0 to 1; of several hosts, the means over those that were measured.
        difference: the former minus the latter.
        loss, twin_loss, loss_difference: likewise, in nats.
        measured: over how many hosts the accuracies are means, or the losses where there are none.
        parameters: of the grown network; of several, their mean.
        started: when it began, in seconds since 1970.
        written: when something was last written to it.
        bytes: size of its files.
        last: ``last`` leads to it.
    """

    name: str
    directory: str
    outcome: str
    task: str | None = None
    policy: str | None = None
    seed: int | None = None
    epochs: int | None = None
    planned_epochs: int | None = None
    hosts: int | None = None
    accuracy: float | None = None
    twin_accuracy: float | None = None
    difference: float | None = None
    loss: float | None = None
    twin_loss: float | None = None
    loss_difference: float | None = None
    measured: int | None = None
    parameters: int | None = None
    started: float | None = None
    written: float
    bytes: int
    last: bool = False


def locate_run(run: Path, runs: Path = Path(RUNS)) -> RunDirectory:
    """Return a run by its path, or by its name alone, which is looked up in `runs`.

    Raises:
        EsperError: E505 if there is none.
    """
    bare = len(run.parts) == 1 and not (run / MANIFEST).is_file() and not run.is_file()
    return find_run(runs / run if bare else run)


def list_runs(runs: Path) -> list[RunSummary]:
    """Return all runs in a directory, the newest first; none if there is no such directory."""
    last = last_of(runs)
    found = [summary(path, last=path.name == last) for path in run_paths(runs)]
    return sorted(found, key=lambda run: (run.started or run.written, run.name), reverse=True)


def last_of(runs: Path) -> str | None:
    """Return the name of the run that ``last`` leads to, None if it leads nowhere."""
    last = runs / LAST
    if last.is_symlink():
        name: str | None = Path(os.readlink(last)).name
    else:
        name = read_last(last)
    return name if name and (runs / name).is_dir() else None


def summary(path: Path, *, last: bool = False) -> RunSummary:
    """Sum up the run in a directory."""
    count, written = _extent(path)
    facts: dict[str, Any] = {"name": path.name, "directory": str(path), "last": last}
    facts |= {"written": written, "bytes": count}
    try:
        manifest = _manifest(path / MANIFEST)
        result = _object(path / RESULT) if (path / RESULT).is_file() else None
        epochs = None
        if result is None or manifest.get("resumed"):
            epochs, over = _progress(path / EVENTS)
            if epochs is not None and not over:
                # The result, if there is one, is that of before the run was resumed.
                result = None
        return _checked(facts | _planned(manifest) | _reached(result, epochs))
    except (ArithmeticError, AttributeError, EsperError, LookupError, OSError, TypeError, ValueError):
        return RunSummary(**facts, outcome=DAMAGED)


def _checked(facts: Mapping[str, Any]) -> RunSummary:
    """A summary of facts from files; TypeError if one is of another type. To load cattrs takes longer than a list."""
    for name, expected in _TYPES.items():
        value = facts.get(name)
        if (not isinstance(value, expected) and name in facts) or (isinstance(value, bool) and expected is not bool):
            raise TypeError(f"{name} is a {type(facts[name]).__name__}")
    return RunSummary(**facts)


_TYPES: Mapping[str, Any] = {attribute.name: attribute.type for attribute in fields(RunSummary)}


def run_paths(runs: Path) -> Iterator[Path]:
    """Yield the directories of all runs in a directory, by name; links are left out."""
    if runs.is_dir():
        with os.scandir(runs) as entries:
            names = sorted(entry.name for entry in entries if not entry.is_symlink())
        yield from (runs / name for name in names if os.path.isfile(os.path.join(runs, name, MANIFEST)))


def _planned(manifest: Mapping[str, Any]) -> dict[str, Any]:
    config = manifest["config"]
    return {
        "task": config["task"]["name"],
        "policy": config["policy"]["name"],
        "seed": manifest["seed"],
        "planned_epochs": config["epochs"],
        "hosts": config.get("hosts", 1),
        "started": datetime.fromisoformat(manifest["started"]).timestamp(),
    }


def _reached(result: Mapping[str, Any] | None, epochs: int | None) -> dict[str, Any]:
    if result is None:
        return {"outcome": UNFINISHED, "epochs": epochs}
    pairs = pair_results(result)
    grown = [pair["hosts"][name] for name, pair in pairs.items()]
    reached: dict[str, Any] = {"outcome": result["outcome"], "epochs": max(host["epochs"] for host in grown)}
    reached |= {"hosts": len(grown), "parameters": round(sum(host["parameters"] for host in grown) / len(grown))}
    of_loss, *losses = _measured(pairs, "test_loss")
    of_accuracy, *accuracies = _measured(pairs, "test_accuracy")
    reached |= zip(("loss", "twin_loss", "loss_difference"), losses, strict=True)
    reached |= zip(("accuracy", "twin_accuracy", "difference"), accuracies, strict=True)
    return reached | {"measured": of_accuracy or of_loss}


def _measured(pairs: Mapping[str, Mapping[str, Any]], key: str) -> tuple[int, float | None, float | None, float | None]:
    """How many grown hosts have a figure, its mean, that of their twins and that of the differences.

    Of several hosts, those whose figure is not finite have none.
    """
    found = []
    for name, pair in pairs.items():
        places = (pair["hosts"][name], pair["hosts"].get(TWIN, {}), pair.get("difference") or {})
        figures = [as_number(place.get(key)) for place in places]
        if figures[0] is not None and (len(pairs) == 1 or isfinite(figures[0])):
            found.append(figures)
    grown, twins, differences = zip(*found, strict=True) if found else ((), (), ())
    return len(found), _mean(grown), _mean(twins), _mean(differences)


def _mean(figures: Sequence[float | None]) -> float | None:
    """The mean; None where there is nothing, or one is missing."""
    known = [it for it in figures if it is not None]
    return sum(known) / len(known) if known and len(known) == len(figures) else None


def _progress(log: Path) -> tuple[int | None, bool]:
    """How many epochs a log reports (None: none), and whether it reports the run's end."""
    try:
        refuse_links(log.parent, log)
        refuse_other_kinds(log, log.stat().st_mode)
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return None, False
    events = [event for line in lines if (event := _event(line))]
    epochs = [e["epoch"] + 1 for e in events if e["kind"] == EventKind.EPOCH_COMPLETED and not is_twin(e["host"])]
    return max(epochs, default=None), any(e["kind"] == EventKind.RUN_FINISHED for e in events)


def _event(line: str) -> dict[str, Any] | None:
    """The first line of a tail begins anywhere, the last one may be torn."""
    try:
        event = parse_json(line)
    except ValueError:
        return None
    whole = isinstance(event, dict) and {"kind", "host"} <= event.keys()
    return event if whole and isinstance(event.get("epoch"), int | None) else None


def _manifest(path: Path) -> dict[str, Any]:
    """What is needed of a manifest: most of it, which is about plugins and packages, is left alone."""
    text = read_regular(path, inside=path.parent).decode()
    resumed = ["resumed"] if '"resumed"' in text else []
    return parse_members(text, ["config", "seed", "started", *resumed])


def _object(path: Path) -> dict[str, Any]:
    return parse_object(read_regular(path, inside=path.parent))


def _extent(path: Path) -> tuple[int, float]:
    """Size of all files, and when something in the directory was last written. What vanishes meanwhile is left out."""
    count, written = 0, 0.0
    folders = [os.fspath(path)]
    for folder in folders:
        with suppress(FileNotFoundError):
            written = max(written, os.lstat(folder).st_mtime)
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                with suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    count, written = count + found.st_size, max(written, found.st_mtime)
    return count, written
