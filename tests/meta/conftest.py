"""The workspace as the meta tests see it: its distributions, and copies of one with a single mistake in it."""

import shutil
import tomllib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@frozen(slots=False)
class Distribution:
    """A folder with a pyproject.toml."""

    folder: Path

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "pyproject.toml").read_text())

    @cached_property
    def project(self) -> dict[str, Any]:
        return self.pyproject["project"]

    @property
    def name(self) -> str:
        return self.project["name"]

    @property
    def package(self) -> str:
        return self.name.replace("-", "_")

    @cached_property
    def sources(self) -> Path:
        """The folder of the package."""
        beside = self.folder / "src" / self.package
        return beside if beside.is_dir() else self.folder / self.package

    @cached_property
    def requirements(self) -> dict[str, Requirement]:
        return by_name(self.project["dependencies"])

    @cached_property
    def extras(self) -> dict[str, Requirement]:
        """The requirements of all extras."""
        return by_name(line for extra in self.project.get("optional-dependencies", {}).values() for line in extra)

    def modules(self) -> list[Path]:
        return sorted(self.sources.rglob("*.py"))


def by_name(lines: Any) -> dict[str, Requirement]:
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def core() -> Distribution:
    return Distribution(ROOT)


@pytest.fixture(scope="session")
def plugins() -> list[Distribution]:
    """Every distribution under `plugins/`."""
    return [Distribution(path.parent) for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))]


@pytest.fixture(scope="session")
def standard(plugins: list[Distribution]) -> Distribution:
    """The one distribution without code."""
    return next(plugin for plugin in plugins if plugin.name == "esper-standard")


@pytest.fixture
def mutant(tmp_path: Path) -> Callable[[str, str, str], Distribution]:
    """A copy of a sound distribution in which one piece of text is another one, or a file is gone (empty pieces)."""

    def make(file: str, old: str, new: str, name: str = "esper-task-vision") -> Distribution:
        folder = tmp_path / "plugins" / name
        shutil.copytree(ROOT / "plugins" / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        changed = folder / file
        if not old:
            shutil.rmtree(changed) if changed.is_dir() else changed.unlink()
            return Distribution(folder)
        assert old in changed.read_text(), f"nothing to change: {file} has no {old!r}"
        changed.write_text(changed.read_text().replace(old, new, 1))
        return Distribution(folder)

    return make
