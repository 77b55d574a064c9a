"""A plugin of somebody else: examples/esper-blueprint-example, built, installed, checked and used by a run."""

import json
import tomllib
from pathlib import Path

import pytest

from esper_core.plugins.known import install_line_for_plugin

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "esper-blueprint-example"


@pytest.fixture(scope="module")
def installed(workshop):
    """The environment, with the example's wheel in it."""
    wheels = workshop.folder / "example"
    workshop.pip("wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, EXAMPLE)
    (wheel,) = wheels.glob("*.whl")
    workshop.pip("install", "--quiet", "--no-compile", "--no-deps", "--no-index", wheel)
    return workshop


def test_it_is_none_of_ours():
    members = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
    assert not [pattern for pattern in members if EXAMPLE in ROOT.glob(pattern)]
    assert install_line_for_plugin(EXAMPLE.name) is None


def test_it_passes_every_check(installed):
    results = json.loads(installed.esper("plugins", "check", EXAMPLE.name, "--json"))
    assert {result["outcome"] for result in results} == {"passed"}
    assert {"blueprint-zero-at-birth", "blueprint-bounded", "plugin-light"} <= {result["check"] for result in results}


def test_its_own_tests_and_types_hold(installed):
    assert " passed" in installed.python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=EXAMPLE)
    installed.python("-m", "mypy", "--cache-dir", installed.folder / "mypy", cwd=EXAMPLE)


def test_a_run_grows_with_it(installed):
    chosen = ("--plugins", "auto,blueprint-example", "--set", 'policy.blueprints=["example"]', "--set", "epochs=12")
    installed.esper("run", "digits", *chosen, "--set", "name=by-example")
    run = installed.work / "runs" / "by-example"
    result, manifest = (json.loads((run / name).read_text()) for name in ("result.json", "manifest.json"))
    assert result["outcome"] == "completed"
    assert {seed["blueprint"] for seed in result["seeds"]} == {"example"}
    assert EXAMPLE.name in json.dumps(manifest["plugins"])
