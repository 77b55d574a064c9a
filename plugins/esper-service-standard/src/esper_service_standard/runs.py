"""A run as a service: begun once, and resumed from its newest checkpoint until it is over."""

import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from attrs import asdict

from esper_app.api import ConfigOptions, PluginOptions, resolve_command
from esper_core.api import EsperError
from esper_runs.reading import parse_object, read_regular
from esper_runs.run_directory import EVENTS, MANIFEST, RESULT, write_atomically
from esper_service_standard.config import RunServiceConfig
from esper_weatherlight.api import Ending, Health, HealthStatus, Launch, Place, ProcessService, esper_command

_NOTE = "run.json"

#: Exit codes of ``esper run``: it is over, well or not; or another try would end the same way.
_OVER, _HOPELESS = (0, 6, 7), (2, 3, 4, 5)

#: Errors in what a user has written: in plugins that were asked for, and in the configuration.
_WRITTEN_WRONGLY = ("E1", "E2")

_CHECKPOINTS = "checkpoints/epoch-*.safetensors"

#: The end of a log in which the newest epoch is looked for, in bytes.
_TAIL = 200_000


class RunService(ProcessService):
    """Runs ``esper run``, and ``esper run --resume`` whenever it has ended before its run was over.

    What it has begun is noted in its folder, so another supervisor goes on with it.

    Args:
        config: which run.
    """

    def __init__(self, config: RunServiceConfig) -> None:
        self._config = config

    def check(self, place: Place) -> None:
        """Raise EsperError for what ``esper run`` would refuse in its task, settings and plugins, if it is to begin.

        A saved policy need not be there yet: another service may be what writes it.
        """
        if self._begun(place) is not None:
            return
        config, task = self._config, self._task(place)
        file = None if config.config is None else Path(config.config)
        try:
            resolve_command(task, ConfigOptions(file=file, sets=config.set, bus=place.bus), PluginOptions())
        except EsperError as error:
            if error.code[:2] not in _WRITTEN_WRONGLY:
                return
            in_file = file is not None and str(file) in (error.where or "")
            where = error.where if in_file else f"services.{place.name}"
            raise EsperError(error.code, error.what, where=where, why=error.why, fix=error.fix) from error

    def start(self, place: Place) -> Launch | None:
        """Go on with the run, or begin one; a run that has no checkpoint yet is begun again, under another name."""
        begun = self._begun(place)
        if begun is None:
            return Launch(command=self._first(place))
        return None if _is_over(begun) else Launch(command=esper_command("run", "--resume", begun))

    def ready(self, place: Place) -> bool:
        """It is ready when its run has a directory."""
        directory = self._directory(place)
        return directory is not None and (directory / MANIFEST).exists()

    def ended(self, place: Place, code: int) -> Ending:
        """A run that is over is done, also one that went wrong: its result says so."""
        return Ending.DONE if code in _OVER else Ending.HOPELESS if code in _HOPELESS else Ending.AGAIN

    def health(self, place: Place) -> Health:
        """Say how far it is, or how it ended."""
        directory = self._directory(place)
        if directory is None or not (directory / MANIFEST).exists():
            return Health(summary="it has not begun")
        if _is_over(directory):
            result = _object(directory / RESULT) or {}
            bad = bool(result.get("stopped")) or any(it.get("failure") for it in result.get("hosts", {}).values())
            status = HealthStatus.UNHEALTHY if bad else HealthStatus.HEALTHY
            return Health(status=status, summary=f"{directory}: {result.get('outcome')}")
        epoch = _epoch(directory)
        figures = {} if epoch is None else {"epoch": float(epoch)}
        return Health(summary=f"{directory}{'' if epoch is None else f': epoch {epoch}'}", figures=figures)

    def runs(self, place: Place) -> Collection[str]:
        """Return its run's name."""
        directory = self._directory(place)
        return () if directory is None else (directory.name,)

    def _first(self, place: Place) -> list[str]:
        config, runs, task = self._config, Path(self._config.runs).absolute(), self._task(place)
        name = next(it for it in _names(place.name) if not (runs / it).exists())
        note = {"directory": str(runs / name), "options": self._digest(), "supervisor": _supervisor(place)}
        write_atomically(place.folder / _NOTE, json.dumps(note).encode())
        words = ["run", *([] if task is None else [task])]
        words += [] if config.config is None else ["--config", config.config]
        settings = (*config.set, f"name={json.dumps(name)}", f"runs={json.dumps(str(runs))}")
        return esper_command(*words, "--bus", place.bus, *(part for it in settings for part in ("--set", it)))

    def _task(self, place: Place) -> str | None:
        """The task; None: the file names it. Raises EsperError E202 if neither does."""
        if self._config.task is None and self._config.config is None:
            where = f"services.{place.name}"
            raise EsperError("E202", "there is no task", where=where, fix=f'{where}.task = "digits"')
        return self._config.task

    def _begun(self, place: Place) -> Path | None:
        """The directory of the run that is gone on with, or that was all that was to be done; None: one is to begin."""
        directory = self._directory(place)
        if directory is None or not (directory / MANIFEST).exists():
            return None
        if _is_over(directory):
            return directory if self._config.once or self._is_mine(place) else None
        return directory if any(directory.glob(_CHECKPOINTS)) else None

    def _directory(self, place: Place) -> Path | None:
        """The directory of the run that was begun with these options, if one was."""
        note = _object(place.folder / _NOTE)
        if note is None or note.get("options") != self._digest():
            return None
        return Path(str(note.get("directory")))

    def _is_mine(self, place: Place) -> bool:
        """The run was begun under the present supervisor."""
        note = _object(place.folder / _NOTE)
        return note is not None and note.get("supervisor") == _supervisor(place)

    def _digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self._config), sort_keys=True).encode()).hexdigest()


def _supervisor(place: Place) -> str | None:
    found = _object(place.state / "weatherlight" / "supervisor.json")
    return None if found is None else str(found.get("mark"))


def _names(stem: str) -> Iterator[str]:
    number = 1
    while True:
        yield f"{stem}-{number}"
        number += 1


def _object(path: Path) -> dict[str, Any] | None:
    try:
        return parse_object(read_regular(path))
    except (OSError, ValueError):
        return None


def _is_over(directory: Path) -> bool:
    result = _object(directory / RESULT)
    return result is not None and result.get("outcome") != "interrupted"


def _epoch(directory: Path) -> int | None:
    """The number of the newest epoch in a run's log."""
    try:
        with (directory / EVENTS).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            event = parse_object(line)
        except ValueError:
            continue
        if event.get("kind") == "epoch_completed" and isinstance(event.get("epoch"), int):
            return int(event["epoch"])
    return None
