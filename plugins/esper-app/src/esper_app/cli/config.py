"""``esper config``: show, write and check configurations."""

from pathlib import Path

import click

from esper_app.cli.checking import checked_file
from esper_app.cli.config_options import ConfigOptions, complete_names, config_options
from esper_app.cli.options import plugin_options
from esper_app.cli.resolving import resolve_command
from esper_app.configuration.config_text import config_toml, template_toml
from esper_app.configuration.plugin_selection import PluginOptions
from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import TaskSpec
from esper_runs.printing import echo

_task = click.argument("task", required=False, shell_complete=complete_names(TaskSpec.kind))


@click.group()
def config() -> None:
    """Show, write and check configurations."""


@config.command(short_help="Print the configuration that a run would have.")
@_task
@config_options
@plugin_options
def show(task: str | None, config_options: ConfigOptions, plugin_options: PluginOptions) -> None:
    """Print the configuration that a run would have, with the origin of each value.

    The output is a configuration file itself.
    """
    echo(config_toml(resolve_command(task, config_options, plugin_options).configuration), nl=False)


@config.command(short_help="Print a configuration file to begin with.")
@_task
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="Write this file instead of printing."
)
@config_options
@plugin_options
def init(task: str | None, output: Path | None, config_options: ConfigOptions, plugin_options: PluginOptions) -> None:
    """Print a configuration file to begin with: every key, described and commented out.

    With a TASK it holds that task's settings and the options of all components in use.
    """
    text = template_toml()
    if task is not None or config_options != ConfigOptions():
        resolved = resolve_command(task, config_options, plugin_options)
        text = template_toml(resolved.configuration, resolved.components)
    if output is None:
        echo(text, nl=False)
        return
    _write_new(output, text)
    echo(f"wrote {output}", err=True)


@config.command(short_help="Check a configuration file.")
@click.argument("file", type=click.Path(path_type=Path))
@_task
@plugin_options
def check(file: Path, task: str | None, plugin_options: PluginOptions) -> None:
    """Check a configuration file: every key, every value, every component. All that is wrong is told at once."""
    found, errors = checked_file(file, task, plugin_options)
    for error in errors[:-1]:
        echo(f"{error}\n", err=True)
    if found is None:
        raise errors[-1]
    config = found.configuration.config
    echo(f"{file} is valid: task {config.task.name}, host {config.host.name}, policy {config.policy.name}")


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        fix = "remove it, or write another file"
        raise EsperError("E205", f'the configuration file "{path}" exists', fix=fix) from error
    except OSError as error:
        raise EsperError("E205", f'the configuration file "{path}" cannot be written', why=str(error)) from error
