"""The sections of a configuration: the core's keys beside the options of the chosen components."""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import Any, Protocol, TypeVar

import attrs

from esper_app.configuration.checkpoints import CheckpointsConfig
from esper_app.configuration.component import ComponentConfig
from esper_app.configuration.config import (
    ComponentsConfig,
    DiagnosticsConfig,
    ExecutorConfig,
    GatesConfig,
    GovernorConfig,
    RewardsConfig,
    RewardTermConfig,
    RunConfig,
    RunSettings,
    SinksConfig,
)
from esper_app.configuration.layers import Merged
from esper_app.configuration.modules import ModulesConfig, PrefetchConfig
from esper_app.configuration.places import CORE_SECTIONS, Places, further_kinds
from esper_app.configuration.plugins_section import PluginsConfig
from esper_app.configuration.policy import PolicyConfig
from esper_app.configuration.telemetry import TelemetryConfig
from esper_app.configuration.training import TrainingConfig
from esper_core.kasmina.config import LifecycleConfig
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.records import plain
from esper_core.leyline.specs import (
    BlueprintSpec,
    DiagnosticSpec,
    EvaluatorSpec,
    ExecutorSpec,
    HostSpec,
    PolicySpec,
    RewardTermSpec,
    SinkSpec,
    TaskSpec,
)
from esper_core.leyline.stages import GateLevel
from esper_core.leyline.structure import Source, structure
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import OptimizerConfig

Component = TypeVar("Component", bound=ComponentConfig)
Listed = TypeVar("Listed", bound=ComponentsConfig | GovernorConfig)
Built = TypeVar("Built")
Found = TypeVar("Found")


class OptionClasses(Protocol):
    """Knows which kinds of components there are, and which options the components have."""

    @property
    def kinds(self) -> tuple[PluginKind, ...]:
        """The kinds."""
        ...

    def option_class(self, kind: str, name: str) -> type | None:
        """Return the attrs class of a component's options, None if it has none. Raises EsperError E204."""
        ...

    def gate_option_classes(self, gate_set: str) -> Mapping[GateLevel, type | None]:
        """Return the option class of each gate of a set. Raises EsperError E204."""
        ...

    def reward_preset(self, name: str) -> Sequence[Mapping[str, Any]]:
        """Return the terms of a preset, as ``rewards.terms`` has them. Raises EsperError E204."""
        ...


def read_sections(merged: Merged, components: OptionClasses) -> RunConfig:
    """Check every section against what the core and the chosen components know, and fill in their defaults.

    Raises:
        EsperError: E201, E202, E204.
    """
    return _Reader(merged, components).run_config()


def read_plugins(data: Mapping[str, Any], source: str | Source) -> PluginsConfig:
    """Read the section ``plugins`` alone: it decides what is loaded before anything else can be checked."""
    return structure(PluginsConfig, data.get("plugins", {}), path="plugins", source=source)


@attrs.frozen
class _Reader:
    merged: Merged
    components: OptionClasses

    def run_config(self) -> RunConfig:
        further = {it.section.name: it for it in further_kinds(self.components.kinds) if it.section}
        core = [field.name for field in attrs.fields(RunConfig) if field.name != "further"]
        self.refuse_unknown("", self.merged.tree, [*core, *further])
        settings = {field.name for field in attrs.fields(RunSettings)}
        given = {key: value for key, value in self.merged.tree.items() if key in settings}
        policy = self.component("policy", PolicySpec.kind, PolicyConfig)
        return RunConfig(
            **attrs.asdict(self.build(RunSettings, given, "")),
            task=self.component("task", TaskSpec.kind, ComponentConfig),
            host=self.component("host", HostSpec.kind, ComponentConfig),
            policy=policy,
            blueprints=self.blueprints(policy.blueprints),
            gates=self.gates(),
            governor=self.listed("governor", EvaluatorSpec.kind, GovernorConfig),
            lifecycle=self.build(LifecycleConfig, self.table("lifecycle"), "lifecycle"),
            limits=self.build(GrowthLimits, self.table("limits"), "limits"),
            optimizer=self.build(OptimizerConfig, self.table("optimizer"), "optimizer"),
            training=self.build(TrainingConfig, self.table("training"), "training"),
            modules=self.build(ModulesConfig, self.table("modules"), "modules"),
            prefetch=self.build(PrefetchConfig, self.table("prefetch"), "prefetch"),
            rewards=self.rewards(),
            diagnostics=self.listed("diagnostics", DiagnosticSpec.kind, DiagnosticsConfig),
            telemetry=self.build(TelemetryConfig, self.table("telemetry"), "telemetry"),
            sinks=self.listed("sinks", SinkSpec.kind, SinksConfig),
            executor=self.component("executor", ExecutorSpec.kind, ExecutorConfig),
            checkpoints=self.build(CheckpointsConfig, self.table("checkpoints"), "checkpoints"),
            plugins=read_plugins(self.merged.tree, self.merged.source),
            further={name: self.further(name, it) for name, it in further.items() if name in self.merged.tree},
        )

    def component(self, section: str, kind: str, cls: type[Component]) -> Component:
        common = Places.of(self.components.kinds).beside[section]
        table = self.table(section)
        options = self.options(kind, table, section, common)
        return self.build(cls, {key: table[key] for key in common & set(table)} | {"options": options}, section)

    def gates(self) -> GatesConfig:
        table = self.table("gates")
        name = self.build(str, table["name"], "gates.name")
        classes = self.known(lambda: self.components.gate_option_classes(name), "gates.name")
        self.refuse_unknown("gates", table, ["name", *classes])
        options = {
            level: self.filled_in(cls, self.table(f"gates.{level}"), f"gates.{level}") for level, cls in classes.items()
        }
        return GatesConfig(name=name, options=options)

    def listed(self, section: str, kind: str, cls: type[Listed]) -> Listed:
        table, key = self.table(section), Places.of(self.components.kinds).listed[section]
        settings = [name for name in _names(cls) if name != "options"]
        listed = self.build(cls, {name: table[name] for name in settings if name in table}, section)
        names: tuple[str, ...] = getattr(listed, key)
        if reserved := sorted({*settings} & {*names}):
            why = f'the {kind} "{reserved[0]}" has the name of a key that the core uses in this place'
            raise EsperError("E202", f'"{section}.{reserved[0]}" means two things', why=why)
        self.refuse_unknown(section, table, [*settings, *names])
        options = {name: self.named_options(kind, name, section, f"{section}.{key}") for name in names}
        return attrs.evolve(listed, options=options)

    def further(self, section: str, kind: PluginKind) -> ComponentConfig | ComponentsConfig:
        if kind.section and kind.section.several:
            return self.listed(section, kind.name, ComponentsConfig)
        return self.component(section, kind.name, ComponentConfig)

    def blueprints(self, catalogue: tuple[str, ...] | None) -> dict[str, Mapping[str, Any]]:
        """Options belong to what the catalogue names; a catalogue that is not spelt out is not known here."""
        table = self.table("blueprints")
        if catalogue is not None:
            self.refuse_unknown("blueprints", table, catalogue)
        names = table if catalogue is None else catalogue
        return {name: self.named_options(BlueprintSpec.kind, name, "blueprints", "policy.blueprints") for name in names}

    def rewards(self) -> RewardsConfig:
        table = self.table("rewards")
        self.refuse_unknown("rewards", table, ["preset", "terms", "gamma"])
        terms = self.build(tuple[dict[str, Any], ...], table.get("terms", []), "rewards.terms")
        rest = self.build(RewardsConfig, {key: it for key, it in table.items() if key != "terms"}, "rewards")
        if (preset := rest.preset) is not None:
            if terms:
                why = f'"rewards.preset" is "{preset}", which says what the terms are'
                fix = "leave one of the two out"
                raise EsperError("E202", 'there are "rewards.terms" beside a preset', why=why, fix=fix)
            terms = tuple(map(dict, self.known(lambda: self.components.reward_preset(preset), "rewards.preset")))
        return attrs.evolve(rest, terms=tuple(self.term(it, f"rewards.terms[{i}]") for i, it in enumerate(terms)))

    def term(self, table: Mapping[str, Any], path: str) -> RewardTermConfig:
        common = {"name", "weight"}
        options = self.options(RewardTermSpec.kind, table, path, common)
        return self.build(
            RewardTermConfig, {key: table[key] for key in common & set(table)} | {"options": options}, path
        )

    def options(self, kind: str, table: Mapping[str, Any], path: str, common: Set[str]) -> dict[str, Any]:
        """Return the complete options of the component that ``name`` names; they share their table with `common`."""
        if "name" not in table:
            raise EsperError("E202", f'"{path}" has no name', where=self.merged.source(path), fix="add a key `name`")
        name = self.build(str, table["name"], f"{path}.name")
        cls = self.known(lambda: self.components.option_class(kind, name), f"{path}.name")
        if reserved := sorted(common & set(_names(cls))):
            why = f'the {kind} "{name}" has an option of a name that the core uses in this place'
            raise EsperError("E202", f'"{path}.{reserved[0]}" means two things', why=why)
        self.refuse_unknown(path, table, [*common, *_names(cls)])
        return self.filled_in(cls, {key: value for key, value in table.items() if key not in common}, path)

    def named_options(self, kind: str, name: str, section: str, named_at: str) -> dict[str, Any]:
        """Return the complete options of a component that has a table of its own."""
        path = f"{section}.{name}"
        cls = self.known(lambda: self.components.option_class(kind, name), path, named_at)
        return self.filled_in(cls, self.table(path), path)

    def filled_in(self, cls: type | None, data: Mapping[str, Any], path: str) -> dict[str, Any]:
        self.refuse_unknown(path, data, _names(cls))
        if cls is None:
            return {}
        record: Any = self.build(cls, data, path)
        try:
            return {name: plain(getattr(record, name)) for name in _names(cls)}
        except TypeError as error:
            why = f"{cls.__name__} is made for something that a file cannot hold: {error}"
            raise EsperError("E202", f'the options of "{path}" cannot be recorded', why=why) from error

    def known(self, look_up: Callable[[], Found], *paths: str) -> Found:
        """Look a component up; if it is not known, say where it was named."""
        try:
            return look_up()
        except EsperError as error:
            error.where = error.where or next(filter(None, map(self.place, paths)), None)
            raise

    def build(self, cls: type[Built], data: Any, path: str) -> Built:
        return structure(cls, data, path=path, source=self.place)

    def table(self, path: str) -> dict[str, Any]:
        """Return the table at `path`, empty if there is none; anything but a table is refused."""
        found: Any = self.merged.tree
        for key in path.split("."):
            found = found.get(key, {})
        return self.build(dict[str, Any], found, path)

    def refuse_unknown(self, path: str, table: Mapping[str, Any], known: Collection[str]) -> None:
        for key in table:
            if key not in known:
                full = f"{path}.{key}" if path else key
                fix = (None if path else _in_a_section(key)) or did_you_mean(key, known)
                raise EsperError("E201", f'unknown key "{full}"', where=self.place(full), fix=fix)

    def place(self, path: str) -> str | None:
        return self.merged.source(path)


def _names(cls: type | None) -> list[str]:
    return [field.name for field in attrs.fields(cls) if field.init] if cls else []


def _in_a_section(key: str) -> str | None:
    """A key that is written without its section, such as ``lr``: say where it belongs."""
    found = [f'"{section}.{key}"' for section, cls in CORE_SECTIONS.items() if key in _names(cls)]
    return f"did you mean {' or '.join(found)}?" if found else None
