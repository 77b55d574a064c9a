"""A kind that a distribution adds: a few lines, and it is collected, configured, documented and listed."""

import importlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from esper_app.configuration.components import RegisteredOptions, build_components
from esper_app.configuration.config_text import config_toml, template_toml
from esper_app.configuration.resolve import resolve_config
from esper_app.execution.manifest import plugin_entry
from esper_core.leyline.errors import EsperError
from esper_core.specs import TaskSpec

#: All of a kind of components.
KIND = '''
from collections.abc import Iterable

from attrs import frozen

from esper_core.hooks import hookspec
from esper_core.specs import ComponentSpec, PluginKind, Section

ESPER_API = "1.0"


@frozen(kw_only=True)
class RelaySpec(ComponentSpec):
    """Carries messages between processes. ``factory(config) -> Relay``.

    Attributes:
        durable: messages outlive the process.
    """

    kind = "relay"

    durable: bool = False


class RelayHooks:
    @hookspec
    def esper_relays(self) -> Iterable[RelaySpec]:
        """Offer relays."""


RELAY = PluginKind(
    spec=RelaySpec,
    hook="esper_relays",
    specification=RelayHooks,
    family="relay",
    protocol="esper_relay.api:Relay",
    section=Section.of_one("relay"),
)
'''

PLUGIN = '''
from attrs import frozen

from esper_relay.kinds import RelaySpec
from esper_core.hooks import hookimpl

ESPER_API = "1.0"


@frozen(kw_only=True)
class Options:
    """Options.

    Attributes:
        url: where it is.
    """

    url: str = "local"


@frozen
class Relay:
    options: Options


@hookimpl
def esper_relays():
    yield RelaySpec(name="redis", summary="Through Redis.", factory=Relay, config=Options, durable=True)
    yield RelaySpec(name="memory", summary="In this process.", factory=Relay)


@hookimpl
def esper_run_start(manifest):
    pass
'''

TASK = TaskSpec(name="digits", summary="Digits.", factory="d.m:D", host="cnn")


@pytest.fixture
def relay(install):
    """The kind, and a plugin of another distribution that offers two of it."""
    install("esper-relay", files={"kinds.py": KIND}, groups={"esper.kinds": {"relay": "esper_relay.kinds:RELAY"}})
    install("esper-relay-redis", code=PLUGIN, requires=("esper-core", "esper-relay>=0.1"))


@frozen
class Options:
    """The options of everything, taken from a registry where it has relays, and of the rest made up."""

    registry: Any

    @property
    def kinds(self) -> Any:
        return self.registry.kinds

    def option_class(self, kind: str, name: str) -> type | None:
        return RegisteredOptions(self.registry).option_class(kind, name) if kind == "relay" else None

    def gate_option_classes(self, gate_set: str) -> dict[Any, type | None]:
        return {}


def resolved(plugins: Any, /, **file: Any) -> Any:
    return resolve_config(TASK, Options(plugins.registry), file=file, file_name="run.toml")


class TestIt:
    def test_is_collected(self, relay, load):
        plugins = load()
        assert [record.problem for record in plugins.records if record.problem] == []
        assert plugins.registry.names("relay") == ("redis", "memory")
        assert plugins.registry.get("relay", "redis").id == "esper-relay-redis/redis"
        with pytest.raises(EsperError, match='did you mean "redis"') as raised:
            plugins.registry.get("relay", "rediss")
        assert raised.value.code == "E204"

    def test_is_listed(self, relay, esper):
        by_name = {record["name"]: record for record in esper.json("plugins", "list", "--json")}
        assert (by_name["kind-relay"]["kinds"], by_name["kind-relay"]["adds_kind"]) == (["kind"], "relay")
        assert by_name["relay-redis"]["kinds"] == ["relay", "observer"]
        only = esper.json("plugins", "list", "--json", "--kind", "relay")
        assert [record["name"] for record in only] == ["relay-redis"]
        refused = esper("plugins", "list", "--kind", "relayy")
        assert refused.returncode == 2
        assert 'did you mean "relay"' in refused.stderr

    def test_is_described(self, relay, esper):
        page = esper("plugins", "info", "kind-relay").stdout
        assert 'kind "relay": Carries messages between processes.' in page
        assert "factory(config) -> Relay" in page
        assert "[relay]" in page
        assert 'relay "redis": Through Redis.' in esper("plugins", "info", "relay-redis").stdout

    def test_is_in_the_documentation(self, relay, load, monkeypatch):
        monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "docs" / "_ext"))
        components = importlib.import_module("reference_components")
        options = importlib.import_module("reference_configuration")
        plugins = load()
        kinds = components.component_pages(plugins, ["esper-relay-redis"])["kinds.md"]
        assert "## Relay: `RelaySpec`" in kinds
        assert "messages outlive the process" in kinds
        assert "[`redis`](plugins/esper-relay-redis.md)" in kinds
        page = options.configuration_pages(plugins, ["esper-relay-redis"])["options.md"]
        assert "`[relay]`" in page
        assert "where it is" in page

    def test_is_configured(self, relay, load):
        plugins = load()
        config = resolved(plugins, relay={"name": "redis", "url": "redis://x"}).config
        assert config.tree()["relay"] == {"name": "redis", "url": "redis://x"}
        assert config.names(plugins.registry.kind("relay")) == ("redis",)
        built = build_components(plugins.registry.kind("relay"), config, plugins.registry)
        assert built["redis"].options.url == "redis://x"
        assert "relay" not in resolved(plugins).config.tree()

    @pytest.mark.parametrize(
        ("section", "code", "says"),
        [
            ({"name": "rediss"}, "E204", "redis"),
            ({"name": "redis", "urll": "x"}, "E201", "url"),
            ({"url": "x"}, "E202", "name"),
            ({"name": "redis", "url": 3}, "E202", "relay.url"),
        ],
    )
    def test_is_checked_as_everything_else_is(self, relay, load, section, code, says):
        with pytest.raises(EsperError, match=says) as raised:
            resolved(load(), relay=section)
        assert raised.value.code == code

    def test_can_be_written_and_read_again(self, relay, load):
        plugins = load()
        first = resolved(plugins, relay={"name": "redis"})
        again = resolved(plugins, **tomllib.loads(config_toml(first)))
        assert again.config == first.config
        template = template_toml(first, Options(plugins.registry))
        assert "# where it is." in template
        assert resolved(plugins, **tomllib.loads(template)).config == first.config

    def test_another_name_discards_the_options_of_the_former_one(self, relay, load):
        plugins = load()
        file = {"relay": {"name": "redis", "url": "x"}}
        found = resolve_config(
            TASK, Options(plugins.registry), file=file, overrides={"relay": {"name": "memory"}}
        ).config
        assert found.tree()["relay"] == {"name": "memory"}

    def test_without_the_distribution_its_section_is_unknown(self, load):
        with pytest.raises(EsperError, match='unknown key "relay"'):
            resolved(load(), relay={"name": "redis"})

    def test_is_used_by_the_runs_that_name_it(self, relay, esper):
        data = esper.json("plugins", "graph", "digits", "--json", "--set", "relay.name=redis")
        (found,) = [entry for entry in data["components"] if entry["kind"] == "relay"]
        assert (found["id"], found["because"]) == ("esper-relay-redis/redis", "relay.name: the command line")
        (plugin,) = [entry for entry in data["plugins"] if entry["name"] == "relay-redis"]
        assert plugin["roles"] == ["used", "observes"]
        shown = esper("config", "show", "digits", "--set", "relay.name=redis").stdout
        assert tomllib.loads(shown)["relay"] == {"name": "redis", "url": "local"}
        unnamed = esper.json("plugins", "graph", "digits", "--json")
        assert "relay" not in {entry["kind"] for entry in unnamed["components"]}

    def test_is_in_the_manifest_of_a_run_that_uses_it(self, relay, load):
        plugins = load()
        (record,) = plugins.find("kind-relay")
        assert plugin_entry(record, [plugins.registry.get("relay", "redis")]).used == (
            {"kind": "kind", "name": "relay"},
        )
        assert plugin_entry(record, []).used == ()

    def test_is_part_of_a_lock(self, relay, esper):
        lock = json.loads(esper("plugins", "lock").stdout)
        assert {"kind-relay", "relay-redis"} <= {entry["plugin"] for entry in lock["plugins"]}
        (esper.cwd / "esper.lock").write_text(json.dumps(lock))
        shown = esper("plugins", "graph", "digits", "--set", "relay.name=redis", "--locked", "esper.lock")
        assert shown.returncode == 0, shown.stderr

    def test_can_be_one_of_several(self, install, load):
        code = KIND.replace("Section.of_one", "Section.of_several")
        install("esper-relay", files={"kinds.py": code}, groups={"esper.kinds": {"relay": "esper_relay.kinds:RELAY"}})
        install("esper-relay-redis", code=PLUGIN)
        plugins = load()
        config = resolved(plugins, relay={"names": ["redis", "memory"], "redis": {"url": "x"}}).config
        assert config.tree()["relay"] == {"names": ["redis", "memory"], "redis": {"url": "x"}, "memory": {}}
        built = build_components(plugins.registry.kind("relay"), config, plugins.registry)
        assert [(name, relay.options and relay.options.url) for name, relay in built.items()] == [
            ("redis", "x"),
            ("memory", None),
        ]
        fewer = {"relay": {"names": ["memory"]}}
        merged = resolve_config(
            TASK,
            Options(plugins.registry),
            file={"relay": {"names": ["redis"], "redis": {"url": "x"}}},
            overrides=fewer,
        )
        assert merged.config.tree()["relay"] == {"names": ["memory"], "memory": {}}

    def test_the_one_in_the_documentation_is_sound(self, install, load):
        document = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
        (shown,) = re.findall(r"```python\n(class RelaySpec.*?)```", document, re.DOTALL)
        head = KIND.partition("@frozen")[0]
        install(
            "esper-relay",
            files={"kinds.py": head + shown},
            groups={"esper.kinds": {"relay": "esper_relay.kinds:RELAY"}},
        )
        assert load().registry.kind("relay").call == "factory(config) -> Relay"
