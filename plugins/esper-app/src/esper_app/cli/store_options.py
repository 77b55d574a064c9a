"""The options of commands that begin a run: which store its seeds' modules come from, and what compiles them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from attrs import evolve

from esper_app.cli.config_options import ConfigOptions, complete_names


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--store`` and ``--compiler`` to a command with configuration options, which come before it."""

    @click.option(
        "--store",
        metavar="URL",
        help="Take the modules of seeds from a store of compiled artifacts, and compile what it lacks: local:PATH, or "
        "what other plugins offer.  [default: ESPER_STORE, or none]",
    )
    @click.option(
        "--compiler",
        metavar="NAME",
        shell_complete=complete_names("compiler"),
        help="What compiles them: export, or eager.  [default: export]",
    )
    @wraps(command)
    def with_store(
        *args: Any, store: str | None, compiler: str | None, config_options: ConfigOptions, **kwargs: Any
    ) -> Any:
        named = {} if compiler is None else {"compiler.name": compiler}
        options = evolve(config_options, store=store, settings={**config_options.settings, **named})
        return command(*args, config_options=options, **kwargs)

    return with_store
