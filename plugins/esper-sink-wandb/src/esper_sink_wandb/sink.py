"""Track a run in Weights & Biases, or in trackio, which has the same interface."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from esper_core.api import EsperError, Event, EventKind, to_json
from esper_runs.metrics import MetricReader, Point
from esper_runs.names import safe_name
from esper_runs.reading import read_regular
from esper_runs.run_directory import MANIFEST, RESULT, write_atomically
from esper_sink_wandb.config import WandbConfig
from esper_sink_wandb.trackers import Beginning, tracker

#: In the run's directory, its number in the program that tracks it.
POINTER = "wandb-run.txt"


class WandbSink:
    """A sink that tracks a run: a row of numbers for each epoch, and at the end a summary and the run's record.

    Args:
        config: where to write.

    Raises:
        EsperError: E504 if the program is not installed.
    """

    def __init__(self, config: WandbConfig) -> None:
        self._config = config
        # Imported now, when nobody waits for a sink to open.
        self._tracker = tracker(config.module)
        self._run: Any = None
        self._manifest: Mapping[str, Any] = {}
        self._reader = MetricReader({})
        self._row: dict[str, float] = {}
        self._step = self._told = -1

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin a run, or go on with it.

        Raises:
            EsperError: E504 if the program cannot begin it.
        """
        self._manifest = json.loads(_json(manifest))
        self._reader = MetricReader(manifest)
        self._row, self._step = {}, -1
        directory = None if manifest.get("directory") is None else Path(manifest["directory"]).absolute()
        known = None if directory is None or manifest.get("resumed_at") is None else _remembered(directory)
        beginning = Beginning(
            project=safe_name(self._config.project),
            name=safe_name(str(manifest.get("name"))),
            identity=known or token_hex(8),
            resumed=known is not None,
            directory=None if directory is None else str(directory),
            config=self._manifest.get("config") or {},
            online=self._config.mode == "online",
        )
        try:
            self._run, self._told = self._tracker.begin(beginning)
            if directory is not None and known is None:
                write_atomically(directory / POINTER, f"{beginning.identity}\n".encode())
        except EsperError:
            raise
        except Exception as error:  # programs of others have errors of their own
            self._run = None
            what = f'the sink "wandb" cannot begin a run in "{self._config.module}"'
            why = str(error).partition("\n")[0][:300] or type(error).__name__
            raise EsperError(
                "E504", what, why=why, fix="set sinks.wandb.mode=offline, or leave the sink out"
            ) from error

    def emit(self, events: Sequence[Event]) -> None:
        """Take the numbers of each event; those of an epoch are told together.

        Raises:
            RuntimeError: before `open` and after `close`.
        """
        if self._run is None:
            raise RuntimeError('the sink "wandb" is not open')
        for event in events:
            for point in self._reader.points(event):
                self._take(point)
            if event.kind is EventKind.RUN_FINISHED:
                self._tell()
                self._conclude(event.data)

    def flush(self) -> None:
        """Do nothing: an epoch is told in one row when the next one begins, so that it is there whole or not at all."""

    def close(self) -> None:
        """Tell the rest, and end the run; a second call does nothing."""
        run = self._run
        if run is not None:
            try:
                self._tell()
            finally:
                self._run = None
                with redirect_stdout(io.StringIO()):
                    run.finish()

    def _take(self, point: Point) -> None:
        # Steps of rounds are smaller: they stand where the run is.
        step = max(point.step, self._step)
        if step > self._step:
            self._tell()
            self._step = step
        host = f"{safe_name(point.host)}/" if point.host else ""
        self._row[f"{host}{point.name}"] = point.value

    def _tell(self) -> None:
        """Tell the row of an epoch. A resumed run lives through some epochs again, and tells them once."""
        row, self._row = self._row, {}
        if row and self._step > self._told:
            self._run.log(row, step=self._step)

    def _conclude(self, result: Mapping[str, Any]) -> None:
        if hasattr(self._run, "summary"):
            self._run.summary.update({"outcome": result.get("outcome"), **_figures(result)})
        # Names of artifacts are shorter and have fewer signs than those of runs.
        artifact = self._tracker.artifact(f"run-{re.sub(r'[^A-Za-z0-9_.-]', '_', str(self._run.id))}")
        with TemporaryDirectory() as folder:
            for name, data in ((MANIFEST, self._manifest), (RESULT, result)):
                path = Path(folder) / name
                path.write_text(_json(data), encoding="utf-8")
                artifact.add_file(str(path), name=name)
            self._run.log_artifact(artifact)


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    hosts = result.get("hosts") or {}
    return {f"{safe_name(host)}/{name}": value for host, figures in hosts.items() for name, value in figures.items()}


def _json(data: Mapping[str, Any]) -> str:
    return to_json(data, indent=2).encode("utf-8", "backslashreplace").decode() + "\n"


def _remembered(directory: Path) -> str | None:
    try:
        identity = read_regular(directory / POINTER, inside=directory, largest=256).decode().strip()
    except (OSError, ValueError):
        return None
    return identity if re.fullmatch("[0-9a-f]{16}", identity) else None
