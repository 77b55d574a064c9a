"""``esper explain``: why a policy did what it did in an epoch, and what would have come of something else."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from esper_app.api import PluginOptions, locked_option, nearest_checkpoint, plugin_options, resolve_begun_run
from esper_runs.printing import echo, echo_json

if TYPE_CHECKING:
    from esper_runs.run_directory import RunDirectory


@click.command(short_help="Explain what a policy did in an epoch of a run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--epoch", metavar="N", type=click.IntRange(min=1), required=True, help="The epoch, counted from 1.")
@click.option("--host", metavar="HOST", help="The host, where several grow.  [default: the first one]")
@click.option(
    "--round", "number", metavar="R", type=click.IntRange(min=1), default=1, help="The round of a training, from 1."
)
@click.option(
    "--alternatives",
    metavar="K",
    type=click.IntRange(min=1),
    help="Run on with K other actions, and show what really came of each.",
)
@click.option("--all", "everything", is_flag=True, help="Show features that are 0 everywhere, too.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as data; epochs are counted from 0.")
@plugin_options
@locked_option
def explain(
    run: Path,
    epoch: int,
    host: str | None,
    number: int,
    alternatives: int | None,
    everything: bool,
    as_json: bool,
    plugin_options: PluginOptions,
) -> None:
    """Explain what the policy of RUN did before an epoch: what it saw, what it thought of it, and what was possible.

    The run is gone through again, from its nearest checkpoint before that epoch or from its beginning; runs are exact,
    and what is repeated is compared with the record. Nothing is written.
    """
    # Imported here: help needs neither torch nor rich.
    from esper_app_train.explanation import explained
    from esper_app_train.explanation_page import as_data, explanation_page
    from esper_runs.run_list import locate_run
    from esper_runs.terminal import Terminal

    directory = locate_run(run)
    place = number - 1, epoch - 1
    _announce(directory, place, alternatives)
    resolved = resolve_begun_run(directory, plugin_options)
    found = explained(directory, resolved, place, host, alternatives or 0)
    if as_json:
        echo_json(as_data(found))
        return
    terminal = Terminal(sys.stdout)
    terminal.print(*explanation_page(found, terminal, everything=everything))


def _announce(directory: "RunDirectory", place: tuple[int, int], alternatives: int | None) -> None:
    """Say how long it will take, by the times in the record."""
    from esper_app_train.explanation import epochs_to_run, seconds_per_epoch
    from esper_runs.formatting import duration

    began = nearest_checkpoint(directory, place)
    there, further = epochs_to_run(directory, began, place, alternatives or 0)
    seconds = seconds_per_epoch(directory)
    took = f", about {duration(seconds * (there + further))}" if seconds is not None else ""
    whence = f"the checkpoint before epoch {began[1] + 1}" if began != (0, 0) else "the beginning"
    if began[0]:
        whence += f" of round {began[0] + 1}"
    runs = f", and {further} for what the alternatives lead to" if further else ""
    echo(f"from {whence}: {there} epoch{'s' * (there > 1)} to the place{runs}{took}", err=True)
