"""A plugin that uses what will go away works, and is told once: what, until when, and what to use instead."""

import pytest

from esper_core.leyline.deprecation import Deprecation
from esper_core.plugins.records import Status

CODE = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints():
    for name in ("one", "two"):
        yield BlueprintSpec(name=name, summary="For tests.", layouts=(Layout.BD,), factory=object, learnable=False)


@hookimpl
def esper_epoch_end(host):
    pass
"""


def deprecated(name: str) -> Deprecation:
    return Deprecation(name=name, since="1.3", removal="2.0", instead="something better")


@pytest.fixture
def warnings(install, load, monkeypatch):
    """Load the plugin with this deprecated, and return what it is told."""

    def told(*names, code=CODE):
        monkeypatch.setattr("esper_core.plugins.loader.DEPRECATIONS", tuple(map(deprecated, names)))
        install("esper-blueprint-foo", code=code)
        (record,) = load().records
        assert record.status is Status.ACTIVE
        assert len(record.components) == 2
        return record.problems

    return told


@pytest.mark.parametrize(
    "name", ["esper_epoch_end", "esper_epoch_end.host", "BlueprintSpec.learnable", "ComponentSpec.summary"]
)
def test_what_is_deprecated_warns_once(warnings, name):
    (problem,) = warnings(name)
    assert problem.code == "E124"
    assert problem.what.startswith('plugin "blueprint-foo" (esper-blueprint-foo 0.1.0) uses')
    assert f'"{name}", which plugin API 2.0 will not have' in problem.what
    assert "something better" in problem.what
    assert "since plugin API 1.3" in problem.why


@pytest.mark.parametrize(
    "name",
    [
        "esper_run_start",
        "esper_epoch_end.evidence",
        "BlueprintSpec.since",
        "BlueprintSpec.capabilities",
        "HostSpec.layouts",
    ],
)
def test_what_is_not_used_does_not(warnings, name):
    assert warnings(name) == ()


def test_everything_is_told(warnings):
    problems = warnings("esper_epoch_end", "esper_epoch_end.host", "BlueprintSpec.learnable")
    assert [problem.what.split('"')[3] for problem in problems] == [
        "esper_epoch_end",
        "esper_epoch_end.host",
        "BlueprintSpec.learnable",
    ]


def test_metadata_are_read_before_anything_is_imported(install, load, tmp_path):
    trace = tmp_path / "imported"
    install("esper-blueprint-new", code=f"open({str(trace)!r}, 'w').close()\n{CODE}", requires=["esper-core>=99"])
    (record,) = load().records
    assert (record.status, record.problems[0].code) == (Status.INCOMPATIBLE, "E120")
    assert not trace.exists()
