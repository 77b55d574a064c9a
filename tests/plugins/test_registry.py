import pytest
from attrs import evolve

from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.leyline.specs import BlueprintSpec, GateSpec, HostSpec, PolicySpec, SinkSpec, TaskSpec
from esper_core.leyline.stages import GateLevel
from esper_core.plugins.records import Origin, PluginRecord, Registered, Status
from esper_core.plugins.registry import Registry


def origin(distribution):
    return Origin(plugin=distribution.removeprefix("esper-"), distribution=distribution, version="1.2", module="m")


def blueprint(name, distribution="esper-x"):
    spec = BlueprintSpec(name=name, summary="-", layouts={"NCHW"}, factory="m:f")
    return Registered(spec, origin(distribution))


def gate(level, gate_set="strict", distribution="esper-gates-strict"):
    spec = GateSpec(name=f"{gate_set}-{level}".lower(), summary="-", factory="m:f", level=level, gate_set=gate_set)
    return Registered(spec, origin(distribution))


def test_it_is_ordered_by_kind_and_then_as_given():
    host = Registered(HostSpec(name="h", summary="-", layouts={"NCHW"}, factory="m:f"), origin("esper-y"))
    task = Registered(TaskSpec(name="t", summary="-", factory="m:f", host="h"), origin("esper-y"))
    registry = Registry.of_components([task, blueprint("b"), host, blueprint("a")])
    assert [registered.spec.name for registered in registry] == ["h", "b", "a", "t"]
    assert registry.names(BlueprintSpec.kind) == ("b", "a")
    assert registry[HostSpec.kind] == (host,)
    assert len(registry) == 4


def test_a_component_is_found_by_its_name():
    registry = Registry.of_components([blueprint("a"), blueprint("b")])
    assert registry.get(BlueprintSpec.kind, "b").spec.name == "b"


def test_an_unknown_name_comes_with_the_nearest_one_and_the_place():
    registry = Registry.of_components([blueprint("my-conv"), blueprint("other")])
    with pytest.raises(EsperError) as raised:
        registry.get(BlueprintSpec.kind, "my-cov", where="policy.blueprints")
    assert (raised.value.code, raised.value.exit_code) == ("E204", ExitCode.USAGE)
    assert raised.value.where == "policy.blueprints"
    assert raised.value.fix == 'did you mean "my-conv"?'


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        (BlueprintSpec.kind, "conv-light", "pip install esper-blueprint-conv-light"),
        (TaskSpec.kind, "fashion-mnist", "pip install esper-task-vision"),
        (GateSpec.kind, "standard", "pip install esper-gates-standard"),
        (SinkSpec.kind, "jsonl", "pip install esper-sink-jsonl"),
        (HostSpec.kind, "cnn", "pip install esper-host-cnn"),
        (PolicySpec.kind, "heuristic", "pip install esper-policy-heuristic"),
    ],
)
def test_a_first_party_component_comes_with_its_pip_line(kind, name, line):
    with pytest.raises(EsperError) as raised:
        Registry.of_components([]).get(kind, name)
    assert raised.value.fix == line


class TestAmbiguity:
    REGISTRY = Registry.of_components([blueprint("foo", "esper-one"), blueprint("foo", "Acme.Two")])

    def test_a_bare_name_is_an_error_that_lists_both(self):
        with pytest.raises(EsperError) as raised:
            self.REGISTRY.get(BlueprintSpec.kind, "foo")
        assert (raised.value.code, raised.value.exit_code) == ("E111", ExitCode.USAGE)
        assert "esper-one 1.2" in raised.value.what
        assert "Acme.Two 1.2" in raised.value.what
        assert raised.value.fix == "write esper-one/foo or Acme.Two/foo"

    @pytest.mark.parametrize("name", ["acme-two/foo", "Acme.Two/foo"])
    def test_the_distribution_in_front_tells_them_apart(self, name):
        assert self.REGISTRY.get(BlueprintSpec.kind, name).origin.distribution == "Acme.Two"

    def test_an_unknown_distribution_in_front_is_an_error(self):
        with pytest.raises(EsperError, match='"three/foo" is not known'):
            self.REGISTRY.get(BlueprintSpec.kind, "three/foo")

    def test_every_component_is_found_by_its_id(self):
        for registered in self.REGISTRY:
            assert self.REGISTRY.get(registered.spec.kind, registered.id) is registered


class TestInactivePlugins:
    ERROR = EsperError("E102", "needs einops")

    def registry(self, status, problems=()):
        record = PluginRecord(status=status, origin=origin("esper-blueprint-foo"), problems=problems)
        return Registry.of_components([], [record])

    @pytest.mark.parametrize("status", [Status.BROKEN, Status.INCOMPATIBLE, Status.DUPLICATE])
    @pytest.mark.parametrize("name", ["foo", "esper-blueprint-foo/anything"])
    def test_what_failed_is_the_error_when_it_is_needed(self, status, name):
        with pytest.raises(EsperError) as raised:
            self.registry(status, (self.ERROR,)).get(BlueprintSpec.kind, name)
        assert raised.value is self.ERROR
        assert raised.value.exit_code is ExitCode.PLUGIN

    @pytest.mark.parametrize("status", [Status.BLOCKED, Status.NOT_SELECTED])
    def test_what_was_left_out_is_named(self, status):
        with pytest.raises(EsperError) as raised:
            self.registry(status).get(BlueprintSpec.kind, "foo")
        assert f"(esper-blueprint-foo 1.2) is {status}" in raised.value.why


class TestGateSets:
    def test_a_set_is_found_by_level(self):
        gates = [gate(GateLevel.G2), gate(GateLevel.G0), gate(GateLevel.G0, "lax")]
        found = Registry.of_components(gates).gate_set("strict")
        assert {level: registered.spec.name for level, registered in found.items()} == {
            GateLevel.G2: gates[0].spec.name,
            GateLevel.G0: gates[1].spec.name,
        }

    def test_an_unknown_set_comes_with_the_nearest(self):
        with pytest.raises(EsperError) as raised:
            Registry.of_components([gate(GateLevel.G0)]).gate_set("stric", where="gates.name")
        assert (raised.value.code, raised.value.fix) == ("E204", 'did you mean "strict"?')

    def test_two_distributions_may_not_share_one_silently(self):
        registry = Registry.of_components([gate(GateLevel.G0), gate(GateLevel.G2, distribution="acme-gates")])
        with pytest.raises(EsperError) as raised:
            registry.gate_set("strict")
        assert raised.value.fix == "write esper-gates-strict/strict or acme-gates/strict"
        assert list(registry.gate_set("acme-gates/strict")) == [GateLevel.G2]


def test_a_record_tells_what_it_offers():
    offered = (blueprint("a"), blueprint("b"), gate(GateLevel.G0))
    hooks = ("esper_blueprints", "esper_gates", "esper_run_start", "esper_run_finish", "esper_adapt_host")
    record = PluginRecord(status=Status.ACTIVE, origin=origin("esper-x"), components=offered, hooks=hooks)
    assert record.kinds == ("blueprint", "gate", "observer", "adapter")
    assert evolve(record, status=Status.BROKEN, components=()).kinds == ()
