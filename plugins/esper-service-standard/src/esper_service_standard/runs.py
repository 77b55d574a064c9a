"""A run as a service: begun once, and resumed from its newest checkpoint until it is over."""

import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from attrs import asdict

from esper_core.api import EsperError
from esper_runs.reading import parse_object, read_regular
from esper_runs.run_directory import EVENTS, MANIFEST, RESULT, write_atomically
from esper_service_standard.config import RunServiceConfig
from esper_weatherlight.api import Ending, Health, HealthStatus, Launch, Place, ProcessService, esper_command

_NOTE = "run.json"

#: Exit codes of ``esper run``: it is over, well or not; or another try would end the same way.
_OVER, _HOPELESS = (0, 6, 7), (2, 3, 4, 5)

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

    def start(self, place: Place) -> Launch | None:
        """Go on with the run, or begin one; a run that has no checkpoint yet is begun again, under another name."""
        directory = self._directory(place)
        if directory is not None and (directory / MANIFEST).exists():
            if _is_over(directory):
                if self._config.once or self._is_mine(place):
                    return None
            elif any(directory.glob(_CHECKPOINTS)):
                return Launch(command=esper_command("run", "--resume", directory))
        return Launch(command=self._first(place))

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
        config, runs = self._config, Path(self._config.runs).absolute()
        if config.task is None and config.config is None:
            where = f"services.{place.name}"
            raise EsperError("E202", "there is no task", where=where, fix=f'{where}.task = "digits"')
        name = next(it for it in _names(place.name) if not (runs / it).exists())
        note = {"directory": str(runs / name), "options": self._digest(), "supervisor": _supervisor(place)}
        write_atomically(place.folder / _NOTE, json.dumps(note).encode())
        words = ["run", *([] if config.task is None else [config.task])]
        words += [] if config.config is None else ["--config", config.config]
        settings = (*config.set, f"name={json.dumps(name)}", f"runs={json.dumps(str(runs))}")
        return esper_command(*words, "--bus", place.bus, *(part for it in settings for part in ("--set", it)))

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
