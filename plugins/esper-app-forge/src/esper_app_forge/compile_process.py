"""The process in which one artifact is made: ``python -m esper_app_forge.compile_process FOLDER``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esper_app.api import PluginOptions, load_selected
from esper_tezzeret.api import answer

#: The command line that makes artifacts.
COMMAND = (sys.executable, "-m", "esper_app_forge.compile_process")


def registry_of(data: Mapping[str, Any]) -> Any:
    """Load the plugins that `PluginOptions.as_data` has written down, and return their registry."""
    return load_selected(PluginOptions.from_data(data)).registry


if __name__ == "__main__":
    answer(Path(sys.argv[1]), registry_of)
