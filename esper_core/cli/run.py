"""``esper run``: grow a network on a task, next to a twin that never grows."""

import sys

import click

from esper_core.cli.config_options import ConfigOptions, complete_names, config_options
from esper_core.cli.options import plugin_options
from esper_core.cli.resolving import resolve_command
from esper_core.leyline.errors import ExitCode
from esper_core.leyline.specs import Kind
from esper_core.plugins.selection import PluginOptions


@click.command()
@click.argument("task", required=False, shell_complete=complete_names(Kind.TASK))
@config_options
@plugin_options
@click.pass_context
def run(ctx: click.Context, task: str | None, config_options: ConfigOptions, plugin_options: PluginOptions) -> None:
    """Grow a network on TASK, next to a twin that never grows.

    Everything about the run is written to a directory of its own under runs/. Ctrl-C stops at the end of the epoch
    and leaves a readable run.
    """
    resolved = resolve_command(task, config_options, plugin_options)
    # Imported here: from this line on torch is needed.
    from esper_core.runtime.run import execute

    finished = execute(resolved.configuration, resolved.plugins, command=sys.argv, strict=plugin_options.strict)
    click.echo(f"run: {finished.directory.path}")
    if finished.interrupted:
        ctx.exit(ExitCode.INTERRUPTED)
