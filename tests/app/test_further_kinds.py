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
class BusSpec(ComponentSpec):
    """Carries messages between processes. ``factory(config) -> Bus``.

    Attributes:
        durable: messages outlive the process.
    """

    kind = "bus"

    durable: bool = False


class BusHooks:
    @hookspec
    def esper_buses(self) -> Iterable[BusSpec]:
        """Offer buses."""


BUS = PluginKind(
    spec=BusSpec,
    hook="esper_buses",
    specification=BusHooks,
    family="bus",
    protocol="esper_bus.api:Bus",
    section=Section.of_one("bus"),
)
'''

PLUGIN = '''
from attrs import frozen

from esper_bus.kinds import BusSpec
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
class Bus:
    options: Options


@hookimpl
def esper_buses():
    yield BusSpec(name="redis", summary="Through Redis.", factory=Bus, config=Options, durable=True)
    yield BusSpec(name="memory", summary="In this process.", factory=Bus)


@hookimpl
def esper_run_start(manifest):
    pass
'''

TASK = TaskSpec(name="digits", summary="Digits.", factory="d.m:D", host="cnn")


@pytest.fixture
def bus(install):
    """The kind, and a plugin of another distribution that offers two of it."""
    install("esper-bus", files={"kinds.py": KIND}, groups={"esper.kinds": {"bus": "esper_bus.kinds:BUS"}})
    install("esper-bus-redis", code=PLUGIN, requires=("esper-core", "esper-bus>=0.1"))


@frozen
class Options:
    """The options of everything, taken from a registry where it has buses, and of the rest made up."""

    registry: Any

    @property
    def kinds(self) -> Any:
        return self.registry.kinds

    def option_class(self, kind: str, name: str) -> type | None:
        return RegisteredOptions(self.registry).option_class(kind, name) if kind == "bus" else None

    def gate_option_classes(self, gate_set: str) -> dict[Any, type | None]:
        return {}


def resolved(plugins: Any, /, **file: Any) -> Any:
    return resolve_config(TASK, Options(plugins.registry), file=file, file_name="run.toml")


class TestIt:
    def test_is_collected(self, bus, load):
        plugins = load()
        assert [record.problem for record in plugins.records if record.problem] == []
        assert plugins.registry.names("bus") == ("redis", "memory")
        assert plugins.registry.get("bus", "redis").id == "esper-bus-redis/redis"
        with pytest.raises(EsperError, match='did you mean "redis"') as raised:
            plugins.registry.get("bus", "rediss")
        assert raised.value.code == "E204"

    def test_is_listed(self, bus, esper):
        by_name = {record["name"]: record for record in esper.json("plugins", "list", "--json")}
        assert (by_name["kind-bus"]["kinds"], by_name["kind-bus"]["adds_kind"]) == (["kind"], "bus")
        assert by_name["bus-redis"]["kinds"] == ["bus", "observer"]
        only = esper.json("plugins", "list", "--json", "--kind", "bus")
        assert [record["name"] for record in only] == ["bus-redis"]
        refused = esper("plugins", "list", "--kind", "buss")
        assert refused.returncode == 2
        assert 'did you mean "bus"' in refused.stderr

    def test_is_described(self, bus, esper):
        page = esper("plugins", "info", "kind-bus").stdout
        assert 'kind "bus": Carries messages between processes.' in page
        assert "factory(config) -> Bus" in page
        assert "[bus]" in page
        assert 'bus "redis": Through Redis.' in esper("plugins", "info", "bus-redis").stdout

    def test_is_in_the_documentation(self, bus, load, monkeypatch):
        monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "docs" / "_ext"))
        components = importlib.import_module("reference_components")
        options = importlib.import_module("reference_configuration")
        plugins = load()
        kinds = components.component_pages(plugins, ["esper-bus-redis"])["kinds.md"]
        assert "## Bus: `BusSpec`" in kinds
        assert "messages outlive the process" in kinds
        assert "[`redis`](plugins/esper-bus-redis.md)" in kinds
        page = options.configuration_pages(plugins, ["esper-bus-redis"])["options.md"]
        assert "`[bus]`" in page
        assert "where it is" in page

    def test_is_configured(self, bus, load):
        plugins = load()
        config = resolved(plugins, bus={"name": "redis", "url": "redis://x"}).config
        assert config.tree()["bus"] == {"name": "redis", "url": "redis://x"}
        assert config.names(plugins.registry.kind("bus")) == ("redis",)
        built = build_components(plugins.registry.kind("bus"), config, plugins.registry)
        assert built["redis"].options.url == "redis://x"
        assert "bus" not in resolved(plugins).config.tree()

    @pytest.mark.parametrize(
        ("section", "code", "says"),
        [
            ({"name": "rediss"}, "E204", "redis"),
            ({"name": "redis", "urll": "x"}, "E201", "url"),
            ({"url": "x"}, "E202", "name"),
            ({"name": "redis", "url": 3}, "E202", "bus.url"),
        ],
    )
    def test_is_checked_as_everything_else_is(self, bus, load, section, code, says):
        with pytest.raises(EsperError, match=says) as raised:
            resolved(load(), bus=section)
        assert raised.value.code == code

    def test_can_be_written_and_read_again(self, bus, load):
        plugins = load()
        first = resolved(plugins, bus={"name": "redis"})
        again = resolved(plugins, **tomllib.loads(config_toml(first)))
        assert again.config == first.config
        template = template_toml(first, Options(plugins.registry))
        assert "# where it is." in template
        assert resolved(plugins, **tomllib.loads(template)).config == first.config

    def test_another_name_discards_the_options_of_the_former_one(self, bus, load):
        plugins = load()
        file = {"bus": {"name": "redis", "url": "x"}}
        found = resolve_config(TASK, Options(plugins.registry), file=file, overrides={"bus": {"name": "memory"}}).config
        assert found.tree()["bus"] == {"name": "memory"}

    def test_without_the_distribution_its_section_is_unknown(self, load):
        with pytest.raises(EsperError, match='unknown key "bus"'):
            resolved(load(), bus={"name": "redis"})

    def test_is_used_by_the_runs_that_name_it(self, bus, esper):
        data = esper.json("plugins", "graph", "digits", "--json", "--set", "bus.name=redis")
        (found,) = [entry for entry in data["components"] if entry["kind"] == "bus"]
        assert (found["id"], found["because"]) == ("esper-bus-redis/redis", "bus.name: the command line")
        (plugin,) = [entry for entry in data["plugins"] if entry["name"] == "bus-redis"]
        assert plugin["roles"] == ["used", "observes"]
        shown = esper("config", "show", "digits", "--set", "bus.name=redis").stdout
        assert tomllib.loads(shown)["bus"] == {"name": "redis", "url": "local"}
        unnamed = esper.json("plugins", "graph", "digits", "--json")
        assert "bus" not in {entry["kind"] for entry in unnamed["components"]}

    def test_is_in_the_manifest_of_a_run_that_uses_it(self, bus, load):
        plugins = load()
        (record,) = plugins.find("kind-bus")
        assert plugin_entry(record, [plugins.registry.get("bus", "redis")]).used == ({"kind": "kind", "name": "bus"},)
        assert plugin_entry(record, []).used == ()

    def test_is_part_of_a_lock(self, bus, esper):
        lock = json.loads(esper("plugins", "lock").stdout)
        assert {"kind-bus", "bus-redis"} <= {entry["plugin"] for entry in lock["plugins"]}
        (esper.cwd / "esper.lock").write_text(json.dumps(lock))
        shown = esper("plugins", "graph", "digits", "--set", "bus.name=redis", "--locked", "esper.lock")
        assert shown.returncode == 0, shown.stderr

    def test_can_be_one_of_several(self, install, load):
        code = KIND.replace("Section.of_one", "Section.of_several")
        install("esper-bus", files={"kinds.py": code}, groups={"esper.kinds": {"bus": "esper_bus.kinds:BUS"}})
        install("esper-bus-redis", code=PLUGIN)
        plugins = load()
        config = resolved(plugins, bus={"names": ["redis", "memory"], "redis": {"url": "x"}}).config
        assert config.tree()["bus"] == {"names": ["redis", "memory"], "redis": {"url": "x"}, "memory": {}}
        built = build_components(plugins.registry.kind("bus"), config, plugins.registry)
        assert [(name, bus.options and bus.options.url) for name, bus in built.items()] == [
            ("redis", "x"),
            ("memory", None),
        ]
        fewer = {"bus": {"names": ["memory"]}}
        merged = resolve_config(
            TASK, Options(plugins.registry), file={"bus": {"names": ["redis"], "redis": {"url": "x"}}}, overrides=fewer
        )
        assert merged.config.tree()["bus"] == {"names": ["memory"], "memory": {}}

    def test_the_one_in_the_documentation_is_sound(self, install, load):
        document = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
        (shown,) = re.findall(r"```python\n(class BusSpec.*?)```", document, re.DOTALL)
        head = KIND.partition("@frozen")[0]
        install("esper-bus", files={"kinds.py": head + shown}, groups={"esper.kinds": {"bus": "esper_bus.kinds:BUS"}})
        assert load().registry.kind("bus").call == "factory(config) -> Bus"
