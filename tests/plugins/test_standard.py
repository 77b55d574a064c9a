"""The default catalogue is what `esper-standard` requires: installing anything else changes no run."""

import pytest

from esper_core.leyline.errors import EsperError
from esper_core.plugins.standard import standard_blueprints

CONTROL = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec

ESPER_API = "2.0"


@hookimpl
def esper_blueprints():
    yield BlueprintSpec(name="b", summary="B.", factory="a:b", layouts={"NCHW"})
    yield BlueprintSpec(name="a", summary="A.", factory="a:b", layouts={"NCHW"})
    yield BlueprintSpec(name="control", summary="C.", factory="a:b", layouts={"NCHW"}, learnable=False)
    yield BlueprintSpec(name="elsewhere", summary="E.", factory="a:b", layouts={"NCHW"}, unavailable="no accelerator")
"""


@pytest.fixture
def only_site(site, monkeypatch):
    """Nothing is installed but what a test installs; what is imported already stays importable."""
    import esper_core.plugins.installed as installed

    monkeypatch.setattr(installed.sys, "path", [str(site)])
    return site


def names(registry):
    return [spec.name for spec in standard_blueprints(registry)]


def test_it_is_what_the_standard_distribution_requires(only_site, install, load):
    install("esper-standard", requires=("Esper_Blueprint.Two>=0.1,<1", "esper-blueprint-x ; extra == 'x'"), groups={})
    install("esper-blueprint-one")
    install("esper-blueprint-two", code=CONTROL)
    install("esper-blueprint-x")
    assert names(load().registry) == ["a", "b"]


def test_without_it_the_error_says_what_to_do(only_site, install, load):
    install("esper-blueprint-one")
    with pytest.raises(EsperError, match="no blueprints are named") as raised:
        names(load().registry)
    assert (raised.value.code, raised.value.fix) == ("E404", "pip install esper-standard, or name blueprints")


def test_metadata_that_cannot_be_read_are_an_error_that_names_it(only_site, install, load):
    install("esper-standard", groups={})
    (only_site / "esper_standard-0.1.0.dist-info" / "METADATA").write_bytes(b"Author: \xff\n")
    with pytest.raises(EsperError, match='"esper-standard" cannot be read'):
        names(load().registry)


def test_here_it_is_every_standard_blueprint_that_can_learn_here():
    from esper_core.plugins.loader import load_plugins

    found = names(load_plugins(tolerant=True).registry)
    assert {"attention", "conv-light", "mlp"} <= set(found)
    assert "noop" not in found
    assert found == sorted(found)
