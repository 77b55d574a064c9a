"""The names in a run's catalogue. Imports no torch, so that commands can tell them without building anything."""

from esper_app.configuration.config import RunConfig
from esper_app.configuration.layers import Origin
from esper_app.configuration.resolve import ResolvedConfig
from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import BlueprintSpec, HostSpec
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.reviews import review_blueprints
from esper_core.plugins.standard import standard_blueprints


def catalogue_names(config: RunConfig, registry: Registry) -> tuple[str, ...]:
    """Return the run's catalogue: what the configuration names, else the standard blueprints that fit the host.

    Raises:
        EsperError: E404 if nothing fits, something is named that does not, or only controls are named.
    """
    host = registry.get(HostSpec.kind, config.host.name).spec
    assert isinstance(host, HostSpec)
    if config.policy.blueprints is not None:
        learnable = [
            _checked(registry.get(BlueprintSpec.kind, name, where="policy.blueprints"), host).learnable
            for name in config.policy.blueprints
        ]
        if learnable and not any(learnable):
            raise EsperError(
                "E404",
                "nothing in the catalogue can learn",
                where="policy.blueprints",
                why=f"{', '.join(config.policy.blueprints)} has no parameters, and is never germinated",
                fix="name a blueprint that learns beside it",
            )
        return config.policy.blueprints
    fitting = tuple(spec.name for spec in standard_blueprints(registry) if spec.layouts & host.layouts)
    if not fitting:
        raise EsperError(
            "E404",
            f'no standard blueprint fits host "{config.host.name}"',
            why=f"its sites are {', '.join(sorted(host.layouts))}",
            fix="name blueprints: --set policy.blueprints='[\"…\"]'",
        )
    return fitting


def review_catalogue(resolved: ResolvedConfig, registry: Registry) -> None:
    """Ask the kinds that review blueprints whether a run may begin, or go on, with its catalogue.

    Raises:
        EsperError: as `catalogue_names` and `review_blueprints`.
    """
    config = resolved.config
    options = {name: config.blueprints.get(name, {}) for name in catalogue_names(config, registry)}
    named = config.policy.blueprints is not None and resolved.origin("policy.blueprints") in _USER
    review_blueprints(registry, options, named=named)


#: Origins of a catalogue that the user named; what a task suggests is not among them.
_USER = (Origin.POLICY, Origin.FILE, Origin.CLI)


def _checked(blueprint: Registered, host: HostSpec) -> BlueprintSpec:
    spec = blueprint.spec
    assert isinstance(spec, BlueprintSpec)
    if not spec.layouts & host.layouts:
        fits, sites = ", ".join(sorted(spec.layouts)), ", ".join(sorted(host.layouts))
        raise EsperError(
            "E404",
            f'blueprint "{spec.name}" fits no site of host "{host.name}"',
            where="policy.blueprints",
            why=f"it is for {fits}, the sites are {sites}",
            fix="leave it out, or choose another host",
        )
    return spec
