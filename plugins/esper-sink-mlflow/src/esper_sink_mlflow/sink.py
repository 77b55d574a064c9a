"""Record a run in MLflow: its options, its numbers by epoch, its manifest and its result."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from esper_core.api import EsperError, Event, EventKind, to_json
from esper_runs.metrics import MetricReader
from esper_runs.names import safe_name
from esper_runs.options import flat_options
from esper_runs.reading import read_regular
from esper_runs.run_directory import MANIFEST, RESULT, write_atomically
from esper_sink_mlflow.config import MlflowConfig
from esper_sink_mlflow.store import (
    Metric,
    MlflowClient,
    MlflowException,
    Param,
    RunTag,
    artifact_place,
    default_uri,
    open_store,
    quiet,
)

#: In the run's directory, the number of its run in MLflow.
POINTER = "mlflow-run.txt"

#: What MLflow takes at a time, and how long its names and values may be.
_METRICS, _PARAMS, _NAME, _VALUE = 1000, 100, 250, 6000

#: How MLflow names the ends of runs.
_STATUS = {"completed": "FINISHED", "interrupted": "KILLED", "stopped": "FAILED"}

_STARTED = "esper.started"

Item = TypeVar("Item")


class MlflowSink:
    """A sink that is one run of an experiment; a run that goes on is the same run there.

    Args:
        config: where to write.
    """

    def __init__(self, config: MlflowConfig) -> None:
        self._config = config
        self._client: MlflowClient | None = None
        self._run = ""
        self._resumed = self._ended = False
        self._reader = MetricReader({})
        self._known: dict[str, set[tuple[int, str]]] = {}

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin a run, or go on with it.

        Raises:
            EsperError: E504 if there is nowhere to write, MLflow cannot be reached, or refuses.
        """
        uri = self._config.tracking_uri or default_uri(manifest)
        self._reader, self._resumed, self._ended = MetricReader(manifest), False, False
        self._known.clear()
        try:
            client = open_store(uri)
            self._run = self._going_on(client, manifest) or self._begun(client, uri, manifest)
        except (OSError, MlflowException, SQLAlchemyError) as error:
            what = 'the sink "mlflow" cannot record the run'
            why = str(error).partition("\n")[0][:300] or type(error).__name__
            fix = "set sinks.mlflow.tracking_uri to a SQLite file (sqlite:///FILE) or a server"
            raise EsperError("E504", what, where=uri, why=why, fix=fix) from error
        self._client = client

    def emit(self, events: Sequence[Event]) -> None:
        """Record the numbers of each event, and the result with the last one.

        Raises:
            RuntimeError: before `open` and after `close`.
            MlflowException: if MLflow cannot be reached, or refuses; its store is locked, or its disk full.
        """
        client = self._opened()
        with quiet():
            for some in _batches(self._metrics(client, events), _METRICS):
                client.log_batch(self._run, metrics=some)
            for event in events:
                if event.kind is EventKind.RUN_FINISHED:
                    self._finish(client, event.data)

    def flush(self) -> None:
        """Do nothing: what was emitted is recorded."""

    def close(self) -> None:
        """End the run; one that came to no end has failed. A second call does nothing."""
        client, self._client = self._client, None
        if client is not None and not self._ended:
            client.set_terminated(self._run, status="FAILED")

    def _opened(self) -> MlflowClient:
        if self._client is None:
            raise RuntimeError('the sink "mlflow" is not open')
        return self._client

    def _begun(self, client: MlflowClient, uri: str, manifest: Mapping[str, Any]) -> str:
        name = _text(str(manifest.get("name")), _NAME)
        tags = {_STARTED: str(manifest.get("started")), "esper.seed": str(manifest.get("seed"))}
        run = client.create_run(_experiment(client, self._config.experiment, uri), run_name=name, tags=tags)
        identity = str(run.info.run_id)
        options = flat_options(manifest.get("config") or {})
        params = [Param(_key(name), _text(str(value), _VALUE)) for name, value in options.items()]
        for some in _batches(params, _PARAMS):
            client.log_batch(identity, params=some)
        client.log_text(identity, _json(manifest), MANIFEST)
        if manifest.get("directory") is not None:
            write_atomically(Path(manifest["directory"]) / POINTER, f"{identity}\n".encode())
        return identity

    def _going_on(self, client: MlflowClient, manifest: Mapping[str, Any]) -> str | None:
        """The run that this one was before; None if it was none, or MLflow has forgotten it."""
        if manifest.get("resumed_at") is None or manifest.get("directory") is None:
            return None
        directory = Path(manifest["directory"]).absolute()
        try:
            identity = read_regular(directory / POINTER, inside=directory, largest=256).decode().strip()
            run = client.get_run(identity) if re.fullmatch("[0-9a-f]{32}", identity) else None
        except (OSError, ValueError, MlflowException):
            return None
        if run is None or run.data.tags.get(_STARTED) != str(manifest.get("started")):
            return None
        client.update_run(identity, status="RUNNING")
        self._resumed = True
        return identity

    def _metrics(self, client: MlflowClient, events: Iterable[Event]) -> Iterator[Metric]:
        for event in events:
            for point in self._reader.points(event):
                host = f"{safe_name(point.host)}/" if point.host else ""
                key = _key(f"{host}{point.name}")
                if not self._resumed or (point.step, repr(point.value)) not in self._recorded(client, key):
                    yield Metric(key, point.value, int(event.time * 1000), point.step)

    def _recorded(self, client: MlflowClient, key: str) -> set[tuple[int, str]]:
        """What MLflow has of a metric: a resumed run lives through some epochs again, and tells them once."""
        if key not in self._known:
            history = client.get_metric_history(self._run, key)
            self._known[key] = {(it.step, repr(it.value)) for it in history}
        return self._known[key]

    def _finish(self, client: MlflowClient, result: Mapping[str, Any]) -> None:
        outcome = str(result.get("outcome"))
        client.log_batch(self._run, tags=[RunTag("esper.outcome", outcome)])
        client.log_text(self._run, _json(result), RESULT)
        client.set_terminated(self._run, status=_STATUS.get(outcome, "FINISHED"))
        self._ended = True


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    if (found := client.get_experiment_by_name(name)) is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_place(uri)))
        except MlflowException:  # another run was quicker
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    return str(found.experiment_id)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _key(name: str) -> str:
    """A name that MLflow takes: it is short, and has no other signs."""
    safe = re.sub(r"[^\w.\-/: ]", "_", name)
    if safe == name and len(safe) <= _NAME:
        return safe
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: _NAME - 9]}-{digest}"


def _text(text: str, longest: int) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")[:longest]


def _json(data: Mapping[str, Any]) -> str:
    return to_json(data, indent=2).encode("utf-8", "backslashreplace").decode() + "\n"
