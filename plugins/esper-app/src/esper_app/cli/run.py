"""``esper run``: grow a network on a task, next to a twin that never grows."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from esper_app.cli.config_options import ConfigOptions, complete_names, config_options
from esper_app.cli.options import locked_option, plugin_options
from esper_app.configuration.plugin_selection import PluginOptions
from esper_core.leyline.errors import ExitCode
from esper_core.leyline.specs import TaskSpec
from esper_runs.run_directory import CONFIG, find_run

if TYPE_CHECKING:
    from esper_app.execution.run import FinishedRun


@click.command(short_help="Grow a network on a task, next to a twin that never grows.")
@click.argument("task", required=False, shell_complete=complete_names(TaskSpec.kind))
@click.option(
    "--resume",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Go on with a run that was interrupted or killed, from its newest checkpoint.",
)
@click.option(
    "--check-plugins",
    is_flag=True,
    help="Look at what plugins do while they do it, and stop where one breaks its contract. The run is the same.",
)
@config_options
@plugin_options
@locked_option
@click.pass_context
def run(
    ctx: click.Context,
    task: str | None,
    resume: Path | None,
    check_plugins: bool,
    config_options: ConfigOptions,
    plugin_options: PluginOptions,
) -> None:
    """Grow a network on TASK, next to a twin that never grows.

    Everything about the run is written to a directory of its own under runs/. Ctrl-C stops at the end of the epoch
    and leaves a readable run.
    """
    if resume is not None:
        finished = _resume(resume, task, config_options, plugin_options, check_plugins)
    else:
        # Imported here: help needs none of it, and it costs more than all the rest.
        from esper_app.cli.resolving import resolve_command

        resolved = resolve_command(task, config_options, plugin_options)
        # From this line on torch is needed.
        from esper_app.execution.run import execute
        from esper_app.execution.watch import plugin_watch

        finished = execute(
            resolved.configuration,
            resolved.plugins,
            command=sys.argv,
            strict=plugin_options.strict,
            watch=plugin_watch() if check_plugins else None,
        )
    click.echo(f"run: {finished.directory.path}")
    if check_plugins:
        told = finished.result["plugin_checks"]
        click.echo(f"plugins: looked at {told['calls']} times, nothing wrong; {told['share']:.1%} of the run's time")
    _warn_of_sinks(finished.result)
    if finished.interrupted:
        click.echo(f"go on with: esper run --resume {finished.directory.path}")
        ctx.exit(ExitCode.INTERRUPTED)


def _warn_of_sinks(result: Mapping[str, Any]) -> None:
    """A sink that fails ends no run, and may be the only one that could have told of it."""
    for name, counts in result["sinks"].items():
        if counts["errors"]:
            lost = f"{counts['dropped']} events did not reach it; the last error: {counts['last_error']}"
            click.echo(f"warning: the sink {name} failed: {lost}", err=True)


def _resume(
    path: Path, task: str | None, config_options: ConfigOptions, plugin_options: PluginOptions, check_plugins: bool
) -> "FinishedRun":
    if task or config_options != ConfigOptions():
        raise click.UsageError("--resume goes on with the run's own configuration; it takes no TASK, --config or --set")
    directory = find_run(path)
    from esper_app.cli.resolving import resolve_command
    from esper_app.execution.resuming import read_manifest, refuse_other_core

    refuse_other_core(read_manifest(directory))
    options = evolve(config_options, file=directory.path / CONFIG)
    resolved = resolve_command(None, options, plugin_options)
    from esper_app.execution.run import resume
    from esper_app.execution.watch import plugin_watch

    return resume(
        directory,
        resolved.configuration,
        resolved.plugins,
        command=sys.argv,
        strict=plugin_options.strict,
        watch=plugin_watch() if check_plugins else None,
    )
