"""Everything that is wrong with a configuration file, not just the first thing."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from esper_app.cli.config_options import ConfigOptions
from esper_app.cli.loading import load_selected
from esper_app.cli.resolving import Resolved, resolve_run_config
from esper_app.configuration.config_file import read_config_file
from esper_app.configuration.plugin_selection import PluginOptions
from esper_app.configuration.plugins_section import PluginsConfig
from esper_core.leyline.errors import EsperError
from esper_core.plugins.plugin_set import PluginSet

#: What is told of the file itself. Anything else (a plugin that does not load) ends the search.
_OF_THE_FILE = frozenset({"E201", "E202", "E204"})
_QUOTED = re.compile(r'"([^"]+)"')


def checked_file(path: Path, task: str | None, options: PluginOptions) -> tuple[Resolved | None, list[EsperError]]:
    """Resolve a configuration file; what is wrong is left out, so that what is wrong behind it is found too.

    Returns:
        What was resolved, None where something is wrong, and every error.

    Raises:
        EsperError: E203 for a file that cannot be read, and what is wrong with the plugins.
    """
    data, found = read_config_file(path), []
    loaded: dict[str, PluginSet] = {}

    def load(table: PluginsConfig) -> PluginSet:
        key = repr(table)
        if key not in loaded:
            loaded[key] = load_selected(options, table)
        return loaded[key]

    while True:
        try:
            resolved = resolve_run_config(task, ConfigOptions(file=path), load, data=deepcopy(data))
        except EsperError as error:
            if error.code not in _OF_THE_FILE:
                raise
            found.append(error)
            if not _leave_out(data, error):
                return None, found
        else:
            return (None if found else resolved), found


def _leave_out(data: dict[str, Any], error: EsperError) -> bool:
    """Take out of the file what an error speaks of: the key that it quotes, or the key whose value it quotes."""
    quoted = _QUOTED.findall(error.what)
    for path in [*quoted, *(where for name in quoted for where in _holding(data, name))]:
        if _remove(data, path.split("[")[0].split(".")):
            return True
    return False


def _holding(data: Mapping[str, Any], name: str, prefix: str = "") -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _holding(value, name, f"{prefix}{key}.")
        elif value == name or (isinstance(value, list) and name in value):
            yield f"{prefix}{key}"


def _remove(data: Any, keys: list[str]) -> bool:
    """Remove the innermost thing that there is; a path may lead on into an option that is a table of its own."""
    *tables, key = keys
    for name in tables:
        data = data.get(name) if isinstance(data, dict) else None
    if not isinstance(data, dict) or key not in data:
        return False
    del data[key]
    return True
