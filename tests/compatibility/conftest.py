"""The golden files of the plugin API, and the frozen plugins."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.selection import Selection

HERE = Path(__file__).parent
FROZEN = (HERE / "v1_0", HERE / "v2_0")


@pytest.fixture(scope="session")
def api_golden() -> Any:
    """The tool that writes the golden files."""
    path = HERE.parents[1] / "tools" / "api_golden.py"
    spec = importlib.util.spec_from_file_location("esper_tool_api_golden", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def frozen_files() -> list[Path]:
    return [path for folder in FROZEN for path in sorted(folder.glob("*.py"))]


@pytest.fixture
def frozen_plugins(frozen_files: list[Path]) -> PluginSet:
    """The frozen plugins and the installed ones."""
    before = set(sys.modules)
    yield load_plugins(Selection(paths=frozen_files), tolerant=True)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(HERE)):
            del sys.modules[name]
