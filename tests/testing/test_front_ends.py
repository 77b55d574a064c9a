"""The front ends of the conformance suite: the command, pytest's option, and failures that are expected."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from esper_core.leyline.errors import EsperError
from esper_testing import CHECKS, CheckLevel, find_plugins
from esper_testing.expectations import Expectations

RIGHT = """
from esper_core.hooks import hookimpl
from esper_core.specs import RewardTermSpec

ESPER_API = "2.0"


class Steady:
    def __init__(self, config):
        pass

    def value(self, step):
        return 0.5


@hookimpl
def esper_reward_terms():
    yield RewardTermSpec(name="steady", summary="Steady.", factory=Steady, low=0.0, high=1.0)
"""
WRONG = RIGHT.replace("return 0.5", "return 2.0")
SELECT = ("--select", "reward-term-*")


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    path = tmp_path / "wrong_term.py"
    path.write_text(WRONG)
    return str(path)


@pytest.mark.slow
def test_a_wrong_plugin_is_named_with_cause_and_fix_and_status_1(esper: Any, wrong: str) -> None:
    done = esper("plugins", "check", wrong, *SELECT)
    assert done.returncode == 1
    assert "FAILED reward-term steady: reward-term-bounded\n  its value is 2.0, outside of 0.0 to 1.0" in done.stdout
    assert "likely cause: " in done.stdout
    assert "fix: give a neutral value" in done.stdout
    assert "3 passed, 1 failed" in done.stdout


@pytest.mark.slow
def test_a_plugin_may_be_named_by_its_folder(esper: Any) -> None:
    folder = Path(__file__).parents[2] / "plugins" / "esper-policy-heuristic"
    done = esper("plugins", "check", str(folder), "--select", "policy-waits", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["component"], result["check"], result["outcome"]) == ("heuristic", "policy-waits", "passed")


@pytest.mark.slow
def test_the_folder_of_a_distribution_that_is_not_installed_is_an_error(esper: Any, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "esper-policy-nowhere"\n')
    done = esper("plugins", "check", str(tmp_path))
    assert done.returncode == 2
    assert "E150" in done.stderr
    assert "esper-policy-nowhere" in done.stderr


@pytest.mark.parametrize("content", ["[tool.other]\n", "not toml", 'project = "name"\n'])
def test_a_folder_that_is_no_distribution_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "pyproject.toml").write_text(content)
    with pytest.raises(EsperError, match="is not the folder of a distribution") as caught:
        find_plugins(tmp_path)
    assert caught.value.code == "E106"


@pytest.mark.slow
def test_json_and_junit_tell_the_same(esper: Any, wrong: str, tmp_path: Path) -> None:
    done = esper("plugins", "check", wrong, *SELECT, "--json", "--junit", str(tmp_path / "junit.xml"))
    assert done.returncode == 1
    outcomes = {result["check"]: result["outcome"] for result in json.loads(done.stdout)}
    assert outcomes["reward-term-bounded"] == "failed"
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == (str(len(outcomes)), "1")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["reward-term-bounded"]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "status"), [(WRONG, 0), (RIGHT, 1)])
def test_expected_failures_are_strict(esper: Any, tmp_path: Path, code: str, status: int) -> None:
    (tmp_path / "some_term.py").write_text(code)
    (tmp_path / "expect.toml").write_text('[steady]\nreward-term-bounded = "in points"\n')
    done = esper("plugins", "check", str(tmp_path / "some_term.py"), *SELECT, "--expect", str(tmp_path / "expect.toml"))
    assert done.returncode == status, done.stdout + done.stderr
    assert ("EXPECTED-FAILURE" if status == 0 else "UNEXPECTED-PASS") in done.stdout
    assert "in points" in done.stdout


@pytest.mark.parametrize(
    ("text", "code"), [("a = ", "E203"), ("sink-order = 1", "E202"), ("[foo]\nsink-order = ''", "E202")]
)
def test_a_damaged_file_of_expectations_is_refused(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "expect.toml"
    path.write_text(text)
    with pytest.raises(EsperError) as caught:
        Expectations.read(path)
    assert caught.value.code == code


def test_unknown_checks_and_components_are_refused() -> None:
    with pytest.raises(EsperError, match='no check is called "sink-ordre"'):
        Expectations(reasons={"sink-ordre": "why"}).require_known(["sink-order"], [])
    with pytest.raises(EsperError, match='no component is called "fo"'):
        Expectations(of_component={"fo": {"sink-order": "why"}}).require_known(["sink-order"], ["foo"])


@pytest.mark.slow
def test_the_command_says_what_it_did_not_look_at(esper: Any, tmp_path: Path) -> None:
    path = tmp_path / "right_term.py"
    path.write_text(RIGHT)
    select = ("--select", "component-*", "--select", "plugin-import-fast")
    quick = esper("plugins", "check", str(path), "--level", "quick", *select)
    assert quick.returncode == 0, quick.stdout + quick.stderr
    lines = [line for line in quick.stdout.splitlines() if line.startswith("not looked at: ")]
    assert lines == [
        "not looked at: plugin-import-fast (level perf, not asked for)",
        "not looked at: component-many-calls, component-memory, component-processes, component-options-used "
        "(level full, not asked for)",
    ]
    full = esper("plugins", "check", str(path), *select)
    assert full.returncode == 0, full.stdout + full.stderr
    assert "not looked at: component-options-used (it has no options)" in full.stdout
    assert "level full" not in full.stdout
    told = {
        it["check"]: it["message"] for it in esper.json("plugins", "check", str(path), "--level", "quick", "--json")
    }
    assert told["component-memory"] == "level full, not asked for"


def test_quick_and_training_are_the_same_level() -> None:
    assert CheckLevel.QUICK is CheckLevel.TRAINING
    assert CheckLevel.QUICK < CheckLevel.FULL < CheckLevel.PERF


def test_every_check_of_the_full_level_is_slow() -> None:
    assert {check.id for check in CHECKS if check.level is CheckLevel.FULL and not check.slow} == set()


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
def test_pytest_needs_no_test_file(tmp_path: Path, wrong: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run_pytest(empty, "--esper-plugin", wrong, "--esper-select", "reward-term-*")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "::test_conformance[reward-term:steady-reward-term-bounded]" in done.stdout
    assert "its value is 2.0" in done.stdout
    assert "1 failed, 3 passed" in done.stdout
    assert "not looked at" not in done.stdout, "there is no check of a reward term above the level"


@pytest.mark.slow
def test_pytest_says_what_it_did_not_look_at(tmp_path: Path, wrong: str) -> None:
    done = run_pytest(tmp_path, "--esper-plugin", wrong, "--esper-level", "quick", "--esper-select", "component-memory")
    assert "esper: not looked at: component-memory (level full, not asked for)" in done.stdout


@pytest.mark.slow
def test_pytest_runs_paths_beside_the_suite(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    select = ("--esper-select", "reward-term-stateless")
    done = run_pytest(tmp_path, "--esper-plugin", wrong, *select, "test_own.py")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_pytest_plugin_imports_nothing_but_pytest() -> None:
    code = (
        "import sys, pytest; import esper_testing.pytest_plugin; "
        "print(sorted(name for name in sys.modules if name.startswith(('esper_', 'torch', 'attr', 'numpy'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before = subprocess.run(
        [sys.executable, "-c", code.replace("import esper_testing.pytest_plugin; ", "")],
        capture_output=True,
        text=True,
        check=True,
    )
    ours = {"esper_testing", "esper_testing.pytest_plugin"}
    assert {*ast.literal_eval(done.stdout)} - {*ast.literal_eval(before.stdout)} == ours
