"""What a distribution that adds a kind can do wrong: it is a record with a problem, and everything else works."""

import pytest

from esper_core.plugins.records import Status
from esper_core.plugins.selection import Block, Selection

KIND = """
from esper_core.hooks import hookspec
from esper_core.specs import ComponentSpec, PluginKind, Section

ESPER_API = "1.0"


class RelaySpec(ComponentSpec):
    __slots__ = ()
    kind = "relay"


class RelayHooks:
    @hookspec
    def esper_relays(self):
        ...


RELAY = PluginKind(
    spec=RelaySpec,
    hook="esper_relays",
    specification=RelayHooks,
    family="relay",
    protocol="a:Relay",
    section=Section.of_one("relay"),
)
"""

PLUGIN = """
from esper_relay.plugin import RelaySpec
from esper_core.hooks import hookimpl

ESPER_API = "1.0"


@hookimpl
def esper_relays():
    yield RelaySpec(name="redis", summary="Through Redis.", factory="a:b")
"""


@pytest.fixture
def offer(install):
    """Install the kind with some of its text replaced, what it is offered by, and something sound."""

    def write(old="", new="", *, entry_point="esper_relay.plugin:RELAY", **options):
        install("esper-blueprint-sound")
        code = KIND.replace(old, new)
        install("esper-relay", code=code, groups={"esper.kinds": {"relay": entry_point}}, **options)
        install("esper-relay-redis", code=PLUGIN)

    return write


def statuses(plugins):
    return {record.origin.plugin: record.status for record in plugins.records}


def test_a_sound_one_is_active_and_so_is_what_offers_it(offer, load):
    offer()
    assert set(statuses(load()).values()) == {Status.ACTIVE}


@pytest.mark.parametrize(
    ("wrong", "code", "says"),
    [
        (("ESPER_API", "1 / 0; ESPER_API"), "E101", "ZeroDivisionError"),
        (("from esper_core.hooks", "import no_such_module; from esper_core.hooks"), "E102", "no_such_module"),
        (("ESPER_API", "raise SystemExit(0); ESPER_API"), "E105", "end the program"),
        (("RELAY =", "_RELAY ="), "E103", "RELAY"),
        (("RELAY = PluginKind(", "RELAY = dict("), "E143", "dict, not a PluginKind"),
        (('hook="esper_relays"', 'hook="esper_relais"'), "E143", "esper_relais"),
        (('kind = "relay"', 'kind = "host"'), "E143", 'a kind "host" already'),
        (('kind = "relay"', 'kind = "observer"'), "E143", 'a kind "observer" already'),
        (('of_one("relay")', 'of_one("host")'), "E143", 'section "host"'),
        (("esper_relays", "esper_hosts"), "E143", 'a hook "esper_hosts" already'),
        (('ESPER_API = "1.0"', 'ESPER_API = "99.0"'), "E121", "99.0"),
        (('family="relay"', 'family="Relay"'), "E101", "lower-case"),
    ],
)
def test_whatever_is_wrong_is_a_record(wrong, code, says, offer, load):
    offer(*wrong)
    plugins = load()
    (record,) = plugins.find("kind-relay")
    assert record.status in (Status.BROKEN, Status.INCOMPATIBLE)
    assert [problem.code for problem in record.problems][:1] == [code]
    assert says in record.problem
    assert record.kind is None
    assert statuses(plugins)["blueprint-sound"] is Status.ACTIVE
    assert [kind.name for kind in plugins.registry.kinds if kind.name == "relay"] == []


@pytest.mark.parametrize("entry_point", ["esper_relay.plugin", "esper_relay.plugin:", "esper relay:RELAY"])
def test_an_entry_point_names_an_object(entry_point, offer, load):
    offer(entry_point=entry_point)
    (record,) = load().find("kind-relay")
    assert [problem.code for problem in record.problems] == ["E103"]


def test_requirements_are_checked_first(offer, load):
    offer("ESPER_API", "1 / 0; ESPER_API", requires=("attrs>=900",))
    (record,) = load().find("kind-relay")
    assert (record.status, record.problems[0].code) == (Status.INCOMPATIBLE, "E120")


def test_what_offers_a_kind_that_is_not_there_says_which_hook_is_unknown(offer, load):
    offer("ESPER_API", "ESPER_API", entry_point="esper_relay.plugin:NOT")
    (record,) = load().find("relay-redis")
    assert record.status is Status.BROKEN
    assert "esper_relays" in record.problem


def test_two_of_one_name_are_both_left_out(offer, install, load):
    offer()
    install("acme-relay", code=KIND, groups={"esper.kinds": {"relay": "acme_relay.plugin:RELAY"}})
    plugins = load()
    assert [record.status for record in plugins.find("kind-relay")] == [Status.DUPLICATE] * 2
    assert statuses(plugins)["relay-redis"] is Status.BROKEN


class TestSelection:
    def test_a_kind_goes_with_the_plugins_that_are_named(self, offer, load):
        offer()
        found = statuses(load(Selection(wanted=("relay-redis",))))
        assert found == {
            "kind-relay": Status.ACTIVE,
            "relay-redis": Status.ACTIVE,
            "blueprint-sound": Status.NOT_SELECTED,
        }

    def test_none_means_none(self, offer, load):
        offer("ESPER_API", "1 / 0; ESPER_API")
        assert set(statuses(load(Selection(wanted=("none",)))).values()) == {Status.NOT_SELECTED}

    @pytest.mark.parametrize("name", ["kind-relay", "esper-relay", "esper-relay:kind-relay"])
    def test_it_can_be_switched_off(self, name, offer, load):
        offer("ESPER_API", "1 / 0; ESPER_API")
        assert statuses(load(Selection(blocked=(Block(name),))))["kind-relay"] is Status.BLOCKED
