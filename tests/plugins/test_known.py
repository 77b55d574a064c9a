import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from esper_core.plugins.known import first_party, install_line, install_line_for_plugin
from esper_core.plugins.loader import load_plugins

ROOT = Path(__file__).parents[2]
PROJECTS = {
    path.parent.name: tomllib.loads(path.read_text())["project"] for path in ROOT.glob("plugins/*/pyproject.toml")
}
LIBRARIES = sorted(name for name, project in PROJECTS.items() if "esper" not in project.get("entry-points", {}))


def test_the_file_is_current():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "first_party.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_plugin_of_ours_is_in_it():
    ours = {
        distribution for kind, found in first_party().items() if kind != "command" for distribution in found.values()
    }
    assert ours == set(PROJECTS) - set(LIBRARIES)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_is_no_plugin_that_could_be_missing(name):
    assert install_line_for_plugin(name) is None
    assert install_line_for_plugin(name.removeprefix("esper-")) is None


def test_ours_are_sound_without_a_single_warning():
    ours = [r for r in load_plugins(tolerant=True).records if r.origin.distribution in PROJECTS]
    assert [r.problem for r in ours if r.problem] == []
    assert len([r for r in ours if r.kind is None]) == len(PROJECTS) - len(LIBRARIES)
    assert sorted(r.kind.name for r in ours if r.kind is not None) == [
        "bus",
        "compiler",
        "dossier",
        "event",
        "service",
        "store",
    ]


@pytest.mark.parametrize("name", ["esper-blueprint-typo", "blueprint-typo", "requests"])
def test_only_what_is_ours_is_suggested(name):
    assert install_line_for_plugin(name) is None
    assert install_line("blueprint", name) is None


def test_what_is_ours_is_suggested_by_the_distribution_that_has_it():
    assert install_line("task", "fashion-mnist") == "pip install esper-task-vision"
    assert install_line("gate", "strict") == "pip install esper-gates-standard"
    assert install_line_for_plugin("sink-jsonl") == "pip install esper-sink-jsonl"
