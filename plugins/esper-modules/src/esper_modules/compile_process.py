"""The process in which a run has one artifact made: ``python -m esper_modules.compile_process FOLDER``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esper_core.plugins.loader import load_plugins
from esper_core.plugins.registry import Registry
from esper_core.plugins.selection import Selection
from esper_tezzeret.apart import answer

#: The command line that makes artifacts.
COMMAND = (sys.executable, "-m", "esper_modules.compile_process")


def selection_data(selection: Selection) -> dict[str, Any]:
    """Return names and files of the plugins that a run has, as plain data."""
    return {"wanted": list(selection.wanted), "paths": [str(path) for path in selection.paths]}


def registry_of(data: Mapping[str, Any]) -> Registry:
    """Load the plugins that `selection_data` has written down, and return their registry."""
    selection = Selection(wanted=tuple(data["wanted"]), paths=tuple(map(Path, data["paths"])))
    return load_plugins(selection).registry


if __name__ == "__main__":
    answer(Path(sys.argv[1]), registry_of)
