"""Fixtures of several floors: plugin distributions, and the `esper` command in a process of its own."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esper_core.plugins.discovery import installed_plugins
from esper_core.plugins.installed import scan
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.selection import Selection


def _helper(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"esper_test_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


distributions = _helper("distributions")
run_files = _helper("run_files")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Any]:
    """Begin the files of a run in ``tmp_path/runs``: ``make_run("digits-2").short_life().write()``."""
    return lambda name="digits-1", runs=None: run_files.RunFiles(runs or tmp_path / "runs", name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions, on the path of this process; what is imported from it goes with it."""
    for name in ("ESPER_PLUGINS", "ESPER_NO_PLUGINS", "ESPER_LOCKED", "ESPER_TRACE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Callable[..., Path]:
    """Install a distribution into `site`: ``install("esper-blueprint-foo", code=...)`` (see `write_distribution`)."""

    def write(name: str, **options: Any) -> Path:
        root: Path = distributions.write_distribution(site, name, **options)
        importlib.invalidate_caches()
        return root

    return write


@pytest.fixture
def load(site: Path) -> Callable[..., PluginSet]:
    """Load plugins as `load_plugins` does, but of the installed ones those in `site` only."""

    def load_from_site(selection: Selection | None = None, **options: Any) -> PluginSet:
        return load_plugins(selection, sources=installed_plugins(scan([str(site)])), **options)

    return load_from_site


class Esper:
    """Runs the `esper` command in a process of its own."""

    def __init__(self, site: Path, cwd: Path, bytecode: Path) -> None:
        self.cwd = cwd
        dropped = ("ESPER_", "PYTHONDONTWRITEBYTECODE", "COLUMNS")  # processes of pytest are given a width
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        self.environ |= {"PYTHONPATH": str(site), "PYTHONPYCACHEPREFIX": str(bytecode)}

    def __call__(self, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "esper_app.cli", *arguments]
        return self.run(command, environ or {})

    def run(self, command: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.cwd, env=self.environ | environ, capture_output=True, text=True, timeout=280
        )

    def json(self, *arguments: str, environ: dict[str, str] | None = None) -> Any:
        done = self(*arguments, environ=environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def esper(site: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Esper:
    """The `esper` command in a process that sees `site`: ``esper("plugins", "list").stdout``."""
    return Esper(site, tmp_path, tmp_path_factory.getbasetemp() / "bytecode")
