"""The components of a run: their options, and which of them it uses."""

from collections.abc import Iterable, Mapping

from attrs import frozen

from esper_app.configuration.config import RunConfig
from esper_core.leyline.specs import Kind
from esper_core.leyline.stages import GateLevel
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import config_class


@frozen
class RegisteredOptions:
    """Knows the options of everything in a registry (an `OptionClasses`)."""

    registry: Registry

    def option_class(self, kind: Kind, name: str) -> type | None:
        """Return the attrs class of a component's options, None if it has none.

        Raises:
            EsperError: E204 or E111 if the name leads to no component, E160 if its options class cannot be loaded.
        """
        return config_class(self.registry.get(kind, name))

    def gate_option_classes(self, gate_set: str) -> Mapping[GateLevel, type | None]:
        """Return the option class of each gate of a set. Raises as `option_class`."""
        return {level: config_class(gate) for level, gate in self.registry.gate_set(gate_set).items()}


def used_components(
    config: RunConfig, registry: Registry, blueprints: Iterable[str] | None = None
) -> tuple[Registered, ...]:
    """Return every component that a run is made of, each once, in the order of `Kind`.

    Args:
        config: the run's configuration.
        registry: where its components are.
        blueprints: names in the run's catalogue; None: as far as the configuration spells it out.

    Raises:
        EsperError: E204 or E111 if a name leads to no component.
    """
    names: dict[Kind, Iterable[str]] = {
        Kind.HOST: [config.host.name],
        Kind.BLUEPRINT: (config.policy.blueprints or ()) if blueprints is None else blueprints,
        Kind.REWARD_TERM: [term.name for term in config.rewards.terms],
        Kind.POLICY: [config.policy.name],
        Kind.SINK: config.sinks.names,
        Kind.TASK: [config.task.name],
    }
    found = {kind: [registry.get(kind, name) for name in named] for kind, named in names.items()}
    found[Kind.GATE] = list(registry.gate_set(config.gates.name).values())
    # A descriptor that carries a mapping cannot be hashed; its kind and id can.
    return tuple({(kind, r.id): r for kind in Kind for r in found[kind]}.values())
