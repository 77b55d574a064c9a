"""Esper on the lowest versions that are declared: the demo, and quick tests that lead into each library.

torch alone is the one of this environment: its own lower bound is not tried, nor are those of what torch needs.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from attrs import frozen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("esper_test_declared", Path(__file__).with_name("declared.py"))
_module = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_module)
declared, entries = _module.declared, _module.entries

FOLDERS = {tomllib.loads(it.read_text())["project"]["name"]: it.parent for it in ROOT.glob("plugins/*/pyproject.toml")}
FOLDERS["esper-core"] = ROOT
PROJECTS = {name: tomllib.loads((it / "pyproject.toml").read_text())["project"] for name, it in FOLDERS.items()}

#: What is linked from this environment: torch, and what only tests use.
LINKED = ["torch", "hypothesis", "pytest-timeout"]

#: What else needs torch does not bring another one.
WITHOUT_TORCH = "torch; python_version < '3'"

QUICK = (
    "tests/leyline/test_structure.py",  # attrs, cattrs
    "tests/plugins/test_registry.py",  # pluggy, packaging
    "tests/app/test_cli_config.py",  # click
    "tests/app/test_toml.py",  # tomlkit
    "tests/app/test_config_resolution.py",
    "tests/runs/test_event_lines.py",  # orjson
    "tests/app_report/test_show.py",  # rich
)


def ours(*names):
    """These distributions, and those of ours that they declare."""
    found, waiting = set(), [*names]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += [it.name for it in map(Requirement, PROJECTS[name]["dependencies"]) if it.name in PROJECTS]
    return found


def libraries(names, *, extras=False):
    """What distributions declare that is not ours, without torch."""
    lines = [line for name in names for line in PROJECTS[name]["dependencies"]]
    if extras:
        lines += [
            it for name in names for more in PROJECTS[name].get("optional-dependencies", {}).values() for it in more
        ]
    found = {it for it in map(Requirement, lines) if it.name not in PROJECTS and it.name != "torch"}
    return sorted(found, key=str)


def run(*command, cwd, seconds=500):
    """Run a command that must succeed, in the environment of a user's shell, and return its output."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("ESPER_", "PYTHON", "VIRTUAL"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environ, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@frozen
class Lowest:
    """An environment with distributions as they stand in this repository, and libraries as old as they may be."""

    folder: Path
    wanted: tuple[str, ...] = ("esper-standard",)

    @property
    def python(self):
        return self.folder / "venv/bin/python"

    @property
    def packages(self):
        (found,) = (self.folder / "venv").glob("lib/python3*/site-packages")
        return found

    def create(self):
        uv, names = (sys.executable, "-m", "uv"), ours(*self.wanted)
        run(*uv, "venv", "--quiet", "--python", sys.executable, "venv", cwd=self.folder)
        install = (*uv, "pip", "install", "--quiet", "--python", self.python)
        (without := self.folder / "without.txt").write_text(WITHOUT_TORCH)
        lowest = ("--resolution", "lowest-direct", "--override", without)
        run(*install, *lowest, *libraries(names), cwd=self.folder)
        for name in declared(LINKED) - self.versions().keys():
            for entry in entries(name):
                if not (link := self.packages / entry.name).exists():
                    link.symlink_to(entry)
        run(*install, "--no-deps", *(part for it in names for part in ("-e", FOLDERS[it])), cwd=self.folder)

    def versions(self):
        """The version of everything that is installed, by name."""
        return {canonicalize_name(it.name): Version(it.version) for it in distributions(path=[str(self.packages)])}


@pytest.fixture(scope="module")
def lowest(tmp_path_factory):
    environment = Lowest(tmp_path_factory.mktemp("lowest"))
    environment.create()
    return environment


def test_every_library_is_as_old_as_it_may_be(lowest):
    bounds, found = {}, lowest.versions()
    for it in libraries(ours("esper-standard")):
        (bound,) = [Version(one.version) for one in it.specifier if one.operator == ">="]
        bounds[it.name] = max(bound, bounds.get(it.name, bound))
    assert {name: found[name] for name in bounds} == bounds, "raise the bounds that other libraries do not allow"


def test_the_demo_runs(lowest):
    run(lowest.folder / "venv/bin/esper", "run", "digits", "--set", "epochs=8", cwd=lowest.folder)
    result = json.loads((lowest.folder / "runs" / "digits-1" / "result.json").read_text())
    assert result["outcome"] == "completed"
    assert set(result["hosts"]) == {"grown", "twin", "control"}
    assert result["seeds"], "no seed was germinated"


def test_quick_tests_pass(lowest):
    output = run(lowest.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *QUICK, cwd=ROOT)
    assert " passed" in output


def test_the_lowest_versions_of_all_distributions_fit_together(tmp_path):
    requirements, without = tmp_path / "requirements.txt", tmp_path / "without.txt"
    requirements.write_text("\n".join(map(str, libraries(PROJECTS, extras=True))))
    without.write_text(WITHOUT_TORCH)
    compile_them = ("pip", "compile", "--quiet", "--resolution", "lowest-direct", "--python", sys.executable)
    output = run(sys.executable, "-m", "uv", *compile_them, "--override", without, requirements, cwd=tmp_path)
    assert "click==" in output
