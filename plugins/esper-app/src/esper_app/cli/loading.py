"""Load the selected plugins for a command, and say on stderr which ones could not be had."""

import os

import click

from esper_app.cli.root import is_tracing, show_trace
from esper_app.configuration.plugin_selection import PluginOptions, PluginsTable, select
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import PluginRecord
from esper_runs.printing import echo


def load_selected(options: PluginOptions, table: PluginsTable | None = None) -> PluginSet:
    """Load plugins as command line, environment and configuration say; warn of the others, one line each.

    Raises:
        EsperError: E170 if they are locked, and others than those that are installed; what is wrong with a plugin that
            was asked for by name, and everything else `load_plugins` raises.
    """
    selection = select(options, os.environ, table)
    if selection.lock is not None:
        # Imported here: only a locked run compares code.
        from esper_app.cli.locks import locked_selection

        selection = locked_selection(selection)
    plugins = load_plugins(selection)
    warn_of_problems(plugins.records)
    trace_problems(plugins.records)
    return plugins


def warn_of_problems(records: tuple[PluginRecord, ...]) -> None:
    """Say on stderr what is wrong with plugins that nobody needs so far, one line each."""
    for record in records:
        for problem in record.problems:
            hint = f"esper plugins info {record.origin.plugin}"
            echo(f"warning[{problem.code}] {problem.what} ({record.status}; {hint})", err=True)


def trace_problems(records: tuple[PluginRecord, ...]) -> None:
    """Where tracebacks are wanted, show those of all problems that an exception caused."""
    if not is_tracing(click.get_current_context(silent=True)):
        return
    for record in records:
        for problem in record.problems:
            if problem.__cause__ is not None:
                show_trace(problem)
