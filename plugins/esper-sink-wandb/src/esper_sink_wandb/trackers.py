"""Weights & Biases and trackio: one interface, but for how a run begins."""

import io
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import Context
from typing import Any, Protocol

from attrs import frozen

from esper_core.api import EsperError

#: Seconds that Weights & Biases may take to answer when a run begins online.
_PATIENCE = 20


@frozen(kw_only=True)
class Beginning:
    """What a run begins with.

    Attributes:
        project, name: what it is called, fit for paths.
        identity: tells it apart from all other runs.
        resumed: it has begun before.
        directory: where local files go; None: wherever the program puts them.
        config: the run's configuration.
        online: send it while it goes on.
    """

    project: str
    name: str
    identity: str
    resumed: bool
    directory: str | None
    config: Mapping[str, Any]
    online: bool


class Tracker(Protocol):
    """A program that tracks runs."""

    def begin(self, it: Beginning) -> tuple[Any, int]:
        """Return its run, and the last step that it has of it; -1 if there is none.

        Raises:
            EsperError: E504 if there is nowhere to write, or it would have to ask somebody.
            Exception: whatever the program raises.
        """
        ...

    def artifact(self, name: str) -> Any:
        """Return an empty artifact."""
        ...


@contextmanager
def _leaving_no_trace() -> Iterator[None]:
    """Imports of these programs draw random numbers and set variables: the run's are put back."""
    drawn, environment = random.getstate(), dict(os.environ)
    try:
        yield
    finally:
        random.setstate(drawn)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


@contextmanager
def _no_reports() -> Iterator[None]:
    """Unless the user has asked for it, faults of W&B's own are not reported to its makers."""
    asked = "WANDB_ERROR_REPORTING" in os.environ
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        yield
    finally:
        if not asked:
            del os.environ["WANDB_ERROR_REPORTING"]


class Wandb:
    """Weights & Biases. Its own process writes and sends, so that nothing waits for a network."""

    def __init__(self) -> None:
        with _leaving_no_trace(), _no_reports():
            import wandb

        self._module = wandb

    def begin(self, it: Beginning) -> tuple[Any, int]:
        """Begin a run beside those that the user may have begun. It drops steps that it has already."""
        if it.directory is None and not os.environ.get("WANDB_DIR"):
            fix = "give the run a directory, or set WANDB_DIR"
            raise EsperError("E504", 'the sink "wandb" has nowhere to write', why="the run has no directory", fix=fix)
        if it.online and not self._module.api.api_key:
            why = "nobody is logged in, and nobody can be asked"
            fix = "wandb login, or sinks.wandb.mode=offline"
            raise EsperError("E504", 'the sink "wandb" cannot go online', why=why, fix=fix)
        settings = self._module.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            init_timeout=_PATIENCE,
        )
        with _no_reports():  # also from the process that it starts
            run = self._module.init(
                project=it.project,
                name=it.name,
                id=it.identity,
                dir=it.directory,
                config=dict(it.config),
                mode="online" if it.online else "offline",
                # Offline, the parts of a run are put together by their id when they are sent.
                resume="allow" if it.online else None,
                reinit="create_new",
                settings=settings,
            )
        return run, -1

    def artifact(self, name: str) -> Any:
        """Return an empty artifact."""
        return self._module.Artifact(name, type="esper-run")


class Trackio:
    """trackio, which stores runs in SQLite files in a place of its own (TRACKIO_DIR)."""

    def __init__(self) -> None:
        with _leaving_no_trace():
            import trackio
            from trackio.sqlite_storage import SQLiteStorage

        self._module = trackio
        self._storage = SQLiteStorage

    def begin(self, it: Beginning) -> tuple[Any, int]:
        """Begin a run beside those that the user may have begun, or go on with it."""
        elsewhere = [name for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL") if os.environ.get(name)]
        if elsewhere and not it.online:
            why = f"the mode is offline, and {elsewhere[0]} names a server"
            raise EsperError("E504", 'the sink "wandb" cannot begin', why=why, fix=f"unset {elsewhere[0]}")
        # trackio finds runs by name: one name must be one run.
        name = f"{it.name}-{it.identity}"
        with redirect_stdout(io.StringIO()):
            # Within a context of its own: otherwise it would end the run that the user has begun.
            run = Context().run(
                self._module.init,
                project=it.project,
                name=name,
                config=dict(it.config),
                resume="allow" if it.resumed else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        last = self._storage.get_max_step_for_run(it.project, name) if it.resumed else None
        return run, -1 if last is None else int(last)

    def artifact(self, name: str) -> Any:
        """Return an empty artifact."""
        return self._module.Artifact(name, type="esper-run")


def tracker(module: str) -> Tracker:
    """Return the program of this name, imported. Raises EsperError E504 if it is not installed."""
    try:
        return Trackio() if module == "trackio" else Wandb()
    except ImportError as error:
        what = f'the sink "wandb" needs "{module}", which cannot be imported'
        raise EsperError("E504", what, why=str(error), fix=f"pip install {module}") from error
