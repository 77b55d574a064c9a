"""From the names and options that a user gives to `grow` to the parts that grow a network."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from esper_core.assembling.options import Options, named, refuse_unknown
from esper_core.assembling.seed_factories import seed_factory
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.diagnostics import Diagnostic
from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import Actor, Evaluator, Gate, Sink
from esper_core.leyline.specs import BlueprintSpec, DiagnosticSpec, EvaluatorSpec, PolicySpec, SinkSpec
from esper_core.leyline.stages import GateLevel
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered
from esper_core.plugins.resolve import build_config, resolve
from esper_core.plugins.reviews import review_blueprints
from esper_core.plugins.standard import standard_blueprints
from esper_core.tamiyo.policy import Policy

#: Vote for the governor where nothing is named, as far as they are installed.
STANDARD_EVALUATORS = ("divergence", "lobotomy", "not-finite")


@frozen(kw_only=True)
class Components:
    """The parts of one growing network that come from plugins, or from the user in their place.

    Attributes:
        seed_factories: the catalogue.
        gates: the gate set.
        evaluators: vote for the governor, by name.
        policy: decides.
        sinks: where events go, by name.
        diagnostics: what looks into the network, by name.
        used: the components of plugins among them.
        config: what was chosen, in the shape of a configuration file.
    """

    seed_factories: Mapping[str, SeedFactory]
    gates: Mapping[GateLevel, Gate]
    evaluators: Mapping[str, Evaluator]
    policy: Policy
    sinks: Mapping[str, Sink]
    diagnostics: Mapping[str, Diagnostic]
    used: tuple[Registered, ...]
    config: Mapping[str, Any]


@frozen
class ComponentBuilder:
    """Builds components of a set of plugins, and keeps which it has used.

    Attributes:
        plugins: the plugins.
        used: what was built so far.
        config: what was chosen so far, in the shape of a configuration file.
    """

    plugins: PluginSet
    used: list[Registered] = field(factory=list)
    config: dict[str, Any] = field(factory=dict)

    def seed_factories(self, blueprints: Sequence[str] | Mapping[str, Options] | None) -> dict[str, SeedFactory]:
        """Build the catalogue; None: the bundled blueprints.

        Raises:
            EsperError: E204 for an unknown name, E201 and E202 for options, E202 for what is not a catalogue, and what
                a kind of component that reviews blueprints refuses.
        """
        registry = self.plugins.registry
        chosen = [spec.name for spec in standard_blueprints(registry)] if blueprints is None else blueprints
        if isinstance(chosen, str) or not isinstance(chosen, Sequence | Mapping):
            why = f"expected names, or a mapping from names to options, got {chosen!r}"
            raise EsperError("E202", 'the value of "blueprints" is not valid', where="grow(blueprints=...)", why=why)
        options = {name: dict(chosen[name]) if isinstance(chosen, Mapping) else {} for name in chosen}
        review_blueprints(registry, options, named=blueprints is not None)
        built = {name: seed_factory(registry, name, of_one) for name, of_one in options.items()}
        self.used.extend(registry.get(BlueprintSpec.kind, name) for name in built)
        self.config["blueprints"] = {name: of_one for name, of_one in options.items() if of_one}
        return built

    def gates(self, gates: str | Options) -> dict[GateLevel, Gate]:
        """Build a gate set; options are by level. Raises EsperError E204, E201, E202."""
        name, options = named(gates, "gates")
        found = self.plugins.registry.gate_set(name)
        refuse_unknown("gates", options, [level.value for level in found])
        self.used.extend(found.values())
        self.config["gates"] = {"name": name, **options}
        return {
            level: resolve(gate)(build_config(gate, options.get(level.value, {}), path=f"gates.{level.value}"))
            for level, gate in found.items()
        }

    def policy(self, policy: str | Options | Actor | Policy, catalogue: Catalogue) -> Policy:
        """Build the policy, unless it is one.

        Raises:
            EsperError: E204 for an unknown name, E201 and E202 for options, E530 for an actor that offers something
                else than is declared.
        """
        if isinstance(policy, Actor):
            given = policy if isinstance(policy, Policy) else Policy(actor=policy, name=type(policy).__name__)
            self.config["policy"] = {"name": given.name, "blueprints": list(catalogue.names)}
            return given
        name, options = named(policy, "policy")
        registered = self.plugins.registry.get(PolicySpec.kind, name)
        self.used.append(registered)
        self.config["policy"] = {"name": name, "blueprints": list(catalogue.names), **options}
        actor: Actor = resolve(registered)(build_config(registered, options, path="policy"), catalogue)
        title = f"{registered.spec.name} ({registered.origin.title})"
        return Policy(actor=actor, name=title, capabilities=registered.spec.capabilities)

    def evaluators(self, evaluators: Sequence[Any] | None) -> dict[str, Evaluator]:
        """Build the governor's evaluators; None: the standard ones that are installed. Raises as `sinks`."""
        if evaluators is None:
            installed = self.plugins.registry.names(EvaluatorSpec.kind)
            evaluators = [name for name in STANDARD_EVALUATORS if name in installed]
        return self._several("evaluators", EvaluatorSpec.kind, Evaluator, evaluators)

    def sinks(self, sinks: Sequence[Any]) -> dict[str, Sink]:
        """Build sinks by name, or with options; sinks that are built are taken as they are.

        Raises:
            EsperError: E204 for an unknown name, E201 and E202 for options, E202 for what is not a sink.
        """
        return self._several("sinks", SinkSpec.kind, Sink, sinks)

    def diagnostics(self, diagnostics: Sequence[Any]) -> dict[str, Diagnostic]:
        """Build diagnostics. Raises as `sinks`."""
        return self._several("diagnostics", DiagnosticSpec.kind, Diagnostic, diagnostics)

    def _several(self, word: str, kind: str, protocol: type, chosen: Sequence[Any]) -> dict[str, Any]:
        place: Any = self.plugins.registry.kind(kind).section
        built: dict[str, Any] = {}
        given: dict[str, Any] = {}
        for index, item in enumerate(chosen):
            if isinstance(item, protocol):
                built[f"{type(item).__name__} {index + 1}"] = item
                continue
            name, options = named(item, word)
            if name in built:
                raise EsperError(
                    "E202", f'{kind} "{name}" is named twice', where=f"grow({word}=...)", fix="name it once"
                )
            registered = self.plugins.registry.get(kind, name)
            self.used.append(registered)
            built[name] = resolve(registered)(build_config(registered, options, path=f"{place.name}.{name}"))
            given[name] = options
        self.config[place.name] = {place.named_at.rpartition(".")[2]: [*built], **given}
        return built


def build_components(
    plugins: PluginSet,
    *,
    blueprints: Sequence[str] | Mapping[str, Options] | None,
    gates: str | Options,
    evaluators: Sequence[Any] | None,
    policy: str | Options | Actor | Policy,
    sinks: Sequence[Any],
    diagnostics: Sequence[Any] = (),
) -> Components:
    """Build everything that is chosen by name.

    A policy that is given as a section of a configuration file may name its `blueprints`; then the argument of that
    name holds their options.

    Raises:
        EsperError: E204 for a name that is not known, E201 for an option that nothing takes, E202 for a wrong value.
    """
    if isinstance(policy, Mapping) and "blueprints" in policy:
        policy = dict(policy)
        names, options = policy.pop("blueprints"), blueprints or {}
        if not isinstance(options, Mapping):
            why = "policy.blueprints names the catalogue, and so does blueprints"
            raise EsperError("E202", "the catalogue is given twice", where="grow(blueprints=...)", why=why)
        refuse_unknown("blueprints", options, names)
        blueprints = {name: options.get(name, {}) for name in names}
    builder = ComponentBuilder(plugins)
    seed_factories = builder.seed_factories(blueprints)
    checks = builder.gates(gates)
    chosen = builder.policy(policy, Catalogue(tuple(made.entry for made in seed_factories.values())))
    return Components(
        seed_factories=seed_factories,
        gates=checks,
        evaluators=builder.evaluators(evaluators),
        policy=chosen,
        sinks=builder.sinks(sinks),
        diagnostics=builder.diagnostics(diagnostics),
        used=tuple(builder.used),
        config=builder.config,
    )
