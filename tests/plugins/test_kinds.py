"""The table of kinds is complete and consistent: what it names exists."""

import inspect
from pkgutil import resolve_name

import pytest
from attrs import evolve, fields, has

from esper_core import api, hooks, specs
from esper_core.leyline.kinds import PluginKind, Section
from esper_core.plugins.kinds import KINDS
from esper_testing.conformance import Conformance

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
PROMISED = [kind for kind in KINDS if not kind.provisional]


@every_kind
def test_it_is_described(kind):
    assert vars(specs)[kind.spec.__name__] is kind.spec
    assert kind.summary.endswith(".")
    assert "``" not in kind.summary
    assert kind.call.startswith("factory(")
    assert kind.hook in hooks.hooks_of(kind.specification)
    assert kind.spec.__name__ in str(inspect.signature(getattr(kind.specification, kind.hook)))
    assert kind.named_by in {field.name for field in fields(kind.spec)}


@pytest.mark.parametrize("kind", PROMISED, ids=lambda kind: kind.name)
def test_what_is_promised_has_all_that_belongs_to_a_kind(kind):
    assert kind.section is not None
    assert isinstance(resolve_name(kind.suite), Conformance)
    protocol = resolve_name(kind.protocol)
    assert kind.call.endswith(f"-> {protocol.__name__}") or kind.call.endswith(f"nn.{protocol.__name__}")
    module, _, name = kind.protocol.partition(":")
    assert module != api.__name__ or name in api.__all__


@pytest.mark.parametrize("attribute", ["name", "hook", "family", "spec"])
def test_no_two_have_the_same(attribute):
    values = [getattr(kind, attribute) for kind in KINDS]
    assert len(set(values)) == len(values)


def test_a_descriptor_knows_its_kind_and_stays_a_frozen_record():
    for kind in KINDS:
        required = {"name": "a", "summary": "A.", "factory": "a:b"}
        extra = {"layouts": ("NCHW",), "level": "G0", "gate_set": "a", "low": 0.0, "high": 1.0, "host": "cnn"}
        names = {field.name for field in fields(kind.spec)}
        spec = kind.spec(**required, **{name: value for name, value in extra.items() if name in names})
        assert (spec.kind, type(evolve(spec, name="b"))) == (kind.name, kind.spec)
        assert has(type(spec))
        with pytest.raises(AttributeError):
            spec.name = "c"
        with pytest.raises(AttributeError):
            spec.anything = 1


def test_the_header_of_options_is_that_of_the_component():
    gate = specs.GateSpec(name="a", summary="A.", factory="a:b", level="G5", gate_set="mine")
    (section,) = [kind.section for kind in KINDS if kind.spec is specs.GateSpec]
    assert (section.name, section.header(gate)) == ("gates", "[gates.G5]")
    sink = specs.SinkSpec(name="jsonl", summary="A.", factory="a:b")
    assert Section.of_several("sinks").header(sink) == "[sinks.jsonl]"
    assert (Section.of_one("host").named_at, Section.of_several("sinks").named_at) == ("host.name", "sinks.names")


@pytest.mark.parametrize(
    ("field", "value"),
    [("hook", "buses"), ("family", "My Bus"), ("spec", int), ("spec", specs.ComponentSpec), ("protocol", "bus")],
)
def test_what_is_no_kind_is_refused_at_once(field, value):
    with pytest.raises((TypeError, ValueError)):
        evolve(KINDS[0], **{field: value})
    assert isinstance(evolve(KINDS[0]), PluginKind)
