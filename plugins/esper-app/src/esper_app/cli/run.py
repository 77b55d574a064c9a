"""``esper run``: grow a network on a task, beside networks that never grow."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from esper_app.cli.bus_options import bus_options
from esper_app.cli.config_options import ConfigOptions, complete_names, config_options
from esper_app.cli.options import locked_option, plugin_options
from esper_app.cli.store_options import store_options
from esper_app.configuration.plugin_selection import PluginOptions
from esper_app.exit_codes import exit_code_of
from esper_core.leyline.errors import ExitCode
from esper_core.leyline.specs import TaskSpec
from esper_runs.bus_text import bus_lines
from esper_runs.formatting import percent
from esper_runs.printing import echo

if TYPE_CHECKING:
    from esper_app.cli.resolving import Resolved
    from esper_app.execution.run import FinishedRun


@click.command(short_help="Grow a network on a task, beside networks that never grow.")
@click.argument("task", required=False, shell_complete=complete_names(TaskSpec.kind))
@click.option(
    "--resume",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Go on with a run that was interrupted or killed, from its newest checkpoint: a directory, or a name under "
    "runs/; `last` is the newest one.",
)
@click.option(
    "--check-plugins",
    is_flag=True,
    help="Look at what plugins do while they do it, and stop where one breaks its contract. The run is the same.",
)
@click.option(
    "--check-level",
    type=click.Choice(["quick", "full"]),
    help="With --check-plugins: look closely at a sample of calls (quick, the default), or at every call (full).",
)
@config_options
@bus_options
@store_options
@plugin_options
@locked_option
@click.pass_context
def run(
    ctx: click.Context,
    task: str | None,
    resume: Path | None,
    check_plugins: bool,
    check_level: str | None,
    config_options: ConfigOptions,
    plugin_options: PluginOptions,
) -> None:
    """Grow a network on TASK, beside networks that never grow.

    When it is over, a control is trained, which never grows either and has as much compute as growing has taken. It
    says whether growing paid. --set twin=epochs leaves it out.

    Everything about the run is written to a directory of its own under runs/. Ctrl-C stops at the end of the epoch
    and leaves a readable run.
    """
    if check_level is not None and not check_plugins:
        raise click.UsageError("--check-level says how closely --check-plugins looks; give that as well")
    level = (check_level or "quick") if check_plugins else None
    if resume is not None:
        finished = _resume(resume, task, config_options, plugin_options, level)
    else:
        # Imported here: help needs none of it, and it costs more than all the rest.
        from esper_app.cli.resolving import resolve_command

        resolved = resolve_command(task, config_options, plugin_options)
        _refuse_unwatched(level, resolved)
        # From this line on torch is needed.
        from esper_app.execution.run import execute
        from esper_app.execution.watch import plugin_watch

        finished = execute(
            resolved.configuration,
            resolved.plugins,
            command=sys.argv,
            strict=plugin_options.strict,
            watch=plugin_watch(level) if level else None,
        )
    echo(f"run: {finished.directory.path}")
    if check_plugins:
        told = finished.result["plugin_checks"]
        echo(f"plugins: looked at {told['calls']} times, nothing wrong; {percent(told['share'])} of the run's time")
        sampled = f"{told['passed_over']} calls closely (--check-level full looks at each); " * bool(
            told["passed_over"]
        )
        echo(f"plugins: not looked at: {sampled}components of the kinds {' and '.join(told['not_watched'])}")
    for line in bus_lines(finished.result):
        echo(line)
    _warn_of_sinks(finished.result)
    if finished.interrupted:
        echo(f"go on with: {_command('run', '--resume', finished)}")
    if (code := exit_code_of(finished.result)) is ExitCode.WENT_WRONG:
        echo(f"warning: the run went wrong, see: {_command('show', finished)}", err=True)
    ctx.exit(code)


def _refuse_unwatched(level: str | None, resolved: "Resolved") -> None:
    """What plugins do in another process cannot be seen from here."""
    if level is not None and (name := resolved.configuration.config.executor.name) != "serial":
        raise click.UsageError(f"--check-plugins needs the executor serial, and not {name}: --executor serial")


def _command(*words: "str | FinishedRun") -> str:
    return shlex.join(["esper", *(word if isinstance(word, str) else str(word.directory.path) for word in words)])


def _warn_of_sinks(result: Mapping[str, Any]) -> None:
    """A sink that fails ends no run, and may be the only one that could have told of it."""
    for name, counts in result["sinks"].items():
        if counts["errors"]:
            lost = f"{counts['dropped']} events did not reach it; the last error: {counts['last_error']}"
            echo(f"warning: the sink {name} failed: {lost}", err=True)


def _resume(
    path: Path, task: str | None, config_options: ConfigOptions, plugin_options: PluginOptions, level: str | None
) -> "FinishedRun":
    if task or evolve(config_options, state=None) != ConfigOptions():
        raise click.UsageError(
            "--resume goes on with the run's own configuration; it takes no TASK, --config, --bus, --store or --set"
        )
    from esper_runs.run_list import locate_run

    directory = locate_run(path)
    from esper_app.cli.resolving import resolve_begun_run

    resolved = resolve_begun_run(directory, plugin_options)
    _refuse_unwatched(level, resolved)
    from esper_app.execution.run import resume
    from esper_app.execution.watch import plugin_watch

    return resume(
        directory,
        resolved.configuration,
        resolved.plugins,
        command=sys.argv,
        strict=plugin_options.strict,
        watch=plugin_watch(level) if level else None,
    )
