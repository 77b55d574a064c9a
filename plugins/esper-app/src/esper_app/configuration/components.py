"""The components of a run: their options, and which of them it uses."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from esper_app.configuration.config import RunConfig
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import BlueprintSpec, RewardTermSpec
from esper_core.leyline.stages import GateLevel
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, config_class, resolve


@frozen
class RegisteredOptions:
    """Knows the options of everything in a registry (an `OptionClasses`)."""

    registry: Registry

    @property
    def kinds(self) -> tuple[PluginKind, ...]:
        """The kinds of components."""
        return self.registry.kinds

    def option_class(self, kind: str, name: str) -> type | None:
        """Return the attrs class of a component's options, None if it has none.

        Raises:
            EsperError: E204 or E111 if the name leads to no component, E160 if its options class cannot be loaded.
        """
        return config_class(self.registry.get(kind, name))

    def gate_option_classes(self, gate_set: str) -> Mapping[GateLevel, type | None]:
        """Return the option class of each gate of a set. Raises as `option_class`."""
        return {level: config_class(gate) for level, gate in self.registry.gate_set(gate_set).items()}

    def reward_preset(self, name: str) -> list[dict[str, Any]]:
        """Return the terms of a preset, as ``rewards.terms`` has them; a preset is the work of one distribution.

        Raises:
            EsperError: E204 if there is none of this name, E111 if two distributions offer one.
        """
        provider, _, short = name.rpartition("/")
        terms = [(it, it.spec) for it in self.registry[RewardTermSpec.kind] if isinstance(it.spec, RewardTermSpec)]
        found = [(it, spec.presets[short]) for it, spec in terms if short in spec.presets]
        found = [(it, settings) for it, settings in found if provider in ("", it.origin.provider)]
        providers = dict.fromkeys(it.origin.provider for it, _ in found)
        if not found:
            known = dict.fromkeys(preset for _, spec in terms for preset in spec.presets)
            fix = did_you_mean(short, known) if known else "pip install esper-rewards-standard"
            raise EsperError("E204", f'there is no preset "{name}" of rewards', fix=fix)
        if len(providers) > 1:
            fix = f"write {' or '.join(f'{it}/{short}' for it in providers)}"
            raise EsperError("E111", f'the preset "{short}" is offered by {" and ".join(providers)}', fix=fix)
        named = Counter(it.spec.name for it, _ in terms)
        return [{"name": it.spec.name if named[it.spec.name] == 1 else it.id, **settings} for it, settings in found]


def used_components(
    config: RunConfig, registry: Registry, blueprints: Iterable[str] | None = None
) -> tuple[Registered, ...]:
    """Return every component that a run is made of, each once, by kind.

    Args:
        config: the run's configuration.
        registry: where its components are.
        blueprints: names in the run's catalogue; None: as far as the configuration spells it out.

    Raises:
        EsperError: E204 or E111 if a name leads to no component.
    """
    found: dict[tuple[str, str], Registered] = {}
    for kind in registry.kinds:
        names = config.names(kind) if blueprints is None or kind.name != BlueprintSpec.kind else blueprints
        for name in names:
            # A descriptor that carries a mapping cannot be hashed; its kind and id can.
            found |= {(kind.name, it.id): it for it in registry.named(kind.name, name)}
    return tuple(found.values())


def build_components(kind: PluginKind, config: RunConfig, registry: Registry) -> dict[str, Any]:
    """Build the components of a kind that a configuration names, by name, each with ``factory(config)``.

    Raises:
        EsperError: E160, E161 if one cannot be built here, E204 or E111 if a name leads to no component.
    """
    built: dict[str, Any] = {}
    for name in config.names(kind):
        assert kind.section is not None
        section, registered = kind.section.name, registry.get(kind.name, name)
        options = config.section(section).options
        path = section
        if kind.section.several:
            options, path = options.get(name, {}), f"{section}.{name}"
        built[name] = resolve(registered)(build_config(registered, options, path=path))
    return built
