import tomllib
from pathlib import Path

import pytest

from esper_core.leyline.specs import GateSpec, Kind
from esper_core.plugins.known import (
    FIRST_PARTY,
    LIBRARIES,
    conventional_distribution,
    install_line,
    install_line_for_plugin,
)
from esper_core.plugins.loader import load_plugins

WORKSPACE = Path(__file__).parents[2] / "plugins"


def test_the_index_is_the_workspace():
    assert {project.parent.name for project in WORKSPACE.glob("*/pyproject.toml")} == FIRST_PARTY


def test_libraries_are_what_has_no_entry_point():
    projects = {path.parent.name: tomllib.loads(path.read_text()) for path in WORKSPACE.glob("*/pyproject.toml")}
    assert {name for name, it in projects.items() if "esper" not in it["project"].get("entry-points", {})} == LIBRARIES


@pytest.mark.parametrize("name", sorted(LIBRARIES))
def test_a_library_is_no_plugin_that_could_be_missing(name):
    assert install_line_for_plugin(name) is None
    assert install_line_for_plugin(name.removeprefix("esper-")) is None


def test_every_component_of_ours_is_found_under_its_distribution():
    ours = [r for r in load_plugins(tolerant=True).registry if r.origin.distribution in FIRST_PARTY]
    assert {r.spec.kind for r in ours} >= {Kind.HOST, Kind.BLUEPRINT, Kind.GATE, Kind.POLICY, Kind.SINK, Kind.TASK}
    for registered in ours:
        name = registered.spec.gate_set if isinstance(registered.spec, GateSpec) else registered.spec.name
        assert conventional_distribution(registered.spec.kind, name) == registered.origin.distribution


def test_ours_are_sound_without_a_single_warning():
    ours = [r for r in load_plugins(tolerant=True).records if r.origin.distribution in FIRST_PARTY]
    assert [r.problem for r in ours if r.problem] == []


@pytest.mark.parametrize("name", ["esper-blueprint-typo", "blueprint-typo", "requests"])
def test_only_what_is_in_the_index_is_suggested(name):
    assert install_line_for_plugin(name) is None
    assert install_line(Kind.BLUEPRINT, name) is None
