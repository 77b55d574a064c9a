"""``esper watch``: runs in the terminal, while they go on and afterwards."""

import os
import sys
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from esper_runs.run_directory import RunDirectory

#: Without RUN, all runs are watched that are not over and wrote something so many seconds ago, at most this many.
_LIVELY_SECONDS, _MOST = 60, 8


@click.command(short_help="Watch runs in the terminal.")
@click.argument("runs", metavar="[RUN]...", type=click.Path(path_type=Path), nargs=-1)
def watch(runs: tuple[Path, ...]) -> None:
    """Watch runs while they go on, and look at them afterwards; nothing about them is changed.

    RUN is a run's directory, or its name under runs/; `last` is the newest one. Without RUN, those under runs/ that are
    going on are shown, or else the newest one. Press ? for the keys, q to leave.
    """
    # Imported here: `--help` needs none of it.
    from esper_runs.run_directory import RUNS
    from esper_runs.run_list import locate_run

    if not _in_a_terminal():
        raise click.UsageError(
            "esper watch needs a terminal, for its input and its output; `esper show RUN` and `esper report RUN` say "
            "what a run did, and `esper events search RUN` what happened in it"
        )
    directories = [locate_run(run) for run in runs] or _newest(Path(RUNS))

    from esper_app_watch.app import WatchApp

    WatchApp(directories, Path(RUNS)).run()


def _in_a_terminal() -> bool:
    # A dumb terminal has no places where something could be drawn.
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _newest(runs: Path) -> list["RunDirectory"]:
    from esper_runs.result import UNFINISHED
    from esper_runs.run_list import list_runs, locate_run

    found = list_runs(runs)
    lively = [run for run in found if run.outcome == UNFINISHED and time() - run.written < _LIVELY_SECONDS]
    # There may be none at all: then the error is that of every command.
    names = [run.name for run in lively[:_MOST] or found[:1]] or ["last"]
    return [locate_run(Path(name), runs) for name in names]
