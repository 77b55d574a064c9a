"""The options of commands that begin a run: which bus it speaks on, and where the keys and the outbox are."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import evolve

from esper_app.cli.config_options import ConfigOptions


def bus_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--bus`` and ``--state`` to a command with configuration options, which come before it."""

    @click.option(
        "--bus",
        metavar="URL",
        help="Put on a bus what other processes are to know: sqlite:PATH, redis://HOST, redis+unix:///PATH, or what "
        "other plugins offer. The run never waits for it.",
    )
    @click.option(
        "--state",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="The state directory, with the keys, the default bus and what could not be sent.  [default: ESPER_STATE, "
        "or .esper]",
    )
    @wraps(command)
    def with_bus(*args: Any, bus: str | None, state: Path | None, config_options: ConfigOptions, **kwargs: Any) -> Any:
        if state is not None:
            # What opens a bus reads it there, in processes that this one starts too.
            os.environ["ESPER_STATE"] = str(state)
        return command(*args, config_options=evolve(config_options, bus=bus, state=state), **kwargs)

    return with_bus
