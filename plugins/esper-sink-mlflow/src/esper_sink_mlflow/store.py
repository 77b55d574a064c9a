"""Open MLflow's store: a SQLite file that is made in one step, or a server that answers.

MLflow's own settings hold where the user has set them. Otherwise it sends no usage data, and gives a server that does
not answer up after seconds: by default it tries for many minutes, and a training would wait.
"""

import logging
import os
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from time import time
from typing import Any
from urllib.parse import urlsplit

from esper_core.api import EsperError

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}


def _apply_settings() -> list[str]:
    """Put the settings that the user has not made into the environment, and return their names."""
    missing = [name for name in _SETTINGS if name not in os.environ]
    os.environ.update({name: _SETTINGS[name] for name in missing})
    return missing


# While MLflow is imported it decides whether it sends usage data. Afterwards the environment is what it was: an import
# changes nothing for others. It happens here, where nobody waits for a sink to open: it takes seconds.
_applied = _apply_settings()
try:
    # With the store behind it.
    import alembic.command  # noqa: F401
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
finally:
    for _name in _applied:
        del os.environ[_name]

#: What the sink uses of MLflow comes from here, so that nothing of it is imported before the settings are made.
__all__ = [
    "Metric",
    "MlflowClient",
    "MlflowException",
    "Param",
    "RunTag",
    "artifact_place",
    "default_uri",
    "open_store",
    "quiet",
]

_SQLITE = "sqlite:///"
_PATIENCE = 5.0
_LEFT_OVER_SECONDS = 3600.0
_PORTS = {"http": 80, "https": 443}


def open_store(uri: str) -> MlflowClient:
    """Return a client of a store, which is made if it is a SQLite file that is missing.

    Raises:
        OSError: if the file cannot be made or is no database, or the server does not answer.
    """
    _apply_settings()
    parts = urlsplit(uri)
    with quiet():
        if uri.startswith(_SQLITE):
            _make_database(Path(uri.removeprefix(_SQLITE)))
        elif parts.scheme in _PORTS:
            address = parts.hostname or "", parts.port or _PORTS[parts.scheme]
            socket.create_connection(address, timeout=_PATIENCE).close()
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


def default_uri(manifest: Mapping[str, Any]) -> str:
    """Return the store beside a run's directory. Raises EsperError E504 if the run has none."""
    if manifest.get("directory") is None:
        what = 'the sink "mlflow" has nowhere to write'
        raise EsperError("E504", what, why="the run has no directory", fix="set sinks.mlflow.tracking_uri")
    return f"{_SQLITE}{Path(manifest['directory']).absolute().parent / 'mlflow.db'}"


def artifact_place(uri: str) -> str | None:
    """Return where an experiment's files go: beside a SQLite file; None: a server knows."""
    if not uri.startswith(_SQLITE):
        return None
    return (Path(uri.removeprefix(_SQLITE)).absolute().parent / "mlflow-artifacts").as_uri()


@contextmanager
def quiet() -> Iterator[None]:
    """Let MLflow and its migrations say no more than warnings: they write where the run is shown."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "mlflow.store.db.utils", "alembic")]
    before = [it.level for it in loggers]
    for it in loggers:
        it.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for it, level in zip(loggers, before, strict=True):
            it.setLevel(level)


def _make_database(path: Path) -> None:
    """Make MLflow's tables under another name first: nobody finds a half made file, and the first to be ready wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(path)
    if path.exists():
        _refuse_others(path)
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(4)}")
    try:
        unfinished.touch(exist_ok=False)
        MlflowClient(tracking_uri=f"{_SQLITE}{unfinished}").search_experiments(max_results=1)
        with suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _remove_left_over(path: Path) -> None:
    """Remove what a process that ended before it was ready left beside the store; none takes an hour."""
    for left in path.parent.glob(f".{path.name}.*-*"):
        with suppress(OSError):
            if time() - left.lstat().st_mtime > _LEFT_OVER_SECONDS:
                left.unlink()


def _refuse_others(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(16)
    if begin and begin != b"SQLite format 3\0":
        raise OSError(f'"{path.name}" is no SQLite database')
    with closing(sqlite3.connect(path)) as connection:
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.Error as error:
            raise OSError(f'"{path.name}" cannot be read: {error}') from error
    if tables and not {"experiments", "runs", "metrics"} <= tables:
        raise OSError(f'"{path.name}" is the database of something else')
