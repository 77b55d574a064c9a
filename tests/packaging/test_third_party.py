"""A plugin and a command of somebody else: the examples, built, installed, checked and used."""

import json
import tomllib
from pathlib import Path

import pytest

from esper_core.plugins.known import install_line, install_line_for_plugin

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
EXAMPLE, COMMAND = (ROOT / "examples" / name for name in ("esper-blueprint-example", "esper-app-example"))


@pytest.fixture(scope="module")
def installed(workshop):
    """The environment, with the examples' wheels in it."""
    wheels = workshop.folder / "example"
    workshop.pip("wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, EXAMPLE, COMMAND)
    workshop.pip("install", "--quiet", "--no-compile", "--no-deps", "--no-index", *wheels.glob("*.whl"))
    return workshop


@pytest.mark.parametrize("example", [EXAMPLE, COMMAND], ids=lambda path: path.name)
def test_it_is_none_of_ours(example):
    members = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
    assert not [pattern for pattern in members if example in ROOT.glob(pattern)]
    assert install_line_for_plugin(example.name) is None
    assert install_line("command", "settings") is None


def test_it_passes_every_check(installed):
    results = json.loads(installed.esper("plugins", "check", EXAMPLE.name, "--json"))
    assert {result["outcome"] for result in results} <= {"passed", "skipped"}
    assert sum(result["outcome"] == "passed" for result in results) > 30
    assert {"blueprint-zero-at-birth", "blueprint-bounded", "plugin-light"} <= {result["check"] for result in results}


@pytest.mark.parametrize("example", [EXAMPLE, COMMAND], ids=lambda path: path.name)
def test_its_own_tests_and_types_hold(example, installed):
    assert " passed" in installed.python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=example)
    installed.python("-m", "mypy", "--cache-dir", installed.folder / "mypy", cwd=example)


def test_the_command_is_listed_and_works(installed):
    listed = " ".join(installed.esper("--help").split())
    assert " settings Show what a run sets otherwise than the built-in defaults, and who says so. " in f"{listed} "
    shown = installed.esper("settings", "digits", "--set", "epochs=5", "--no-plugin", "host-hf")
    assert ["epochs", "5", "the command line"] in [line.split(maxsplit=2) for line in shown.splitlines()]


def test_a_run_grows_with_it(installed):
    chosen = ("--plugins", "auto,blueprint-example", "--set", 'policy.blueprints=["example"]', "--set", "epochs=12")
    installed.esper("run", "digits", *chosen, "--set", "name=by-example")
    run = installed.work / "runs" / "by-example"
    result, manifest = (json.loads((run / name).read_text()) for name in ("result.json", "manifest.json"))
    assert result["outcome"] == "completed"
    assert {seed["blueprint"] for seed in result["seeds"]} == {"example"}
    assert EXAMPLE.name in json.dumps(manifest["plugins"])
