"""The names in a run's catalogue. Imports no torch, so that commands can tell them without building anything."""

from esper_app.configuration.config import RunConfig
from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import BlueprintSpec, HostSpec, Kind
from esper_core.plugins.bundled import bundled_blueprints
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry


def catalogue_names(config: RunConfig, registry: Registry) -> tuple[str, ...]:
    """Return the run's catalogue: what the configuration names, else the bundled blueprints that fit the host.

    Raises:
        EsperError: E404 if nothing fits, or something is named that does not.
    """
    host = registry.get(Kind.HOST, config.host.name).spec
    assert isinstance(host, HostSpec)
    if config.policy.blueprints is not None:
        for name in config.policy.blueprints:
            _check_fit(registry.get(Kind.BLUEPRINT, name, where="policy.blueprints"), host)
        return config.policy.blueprints
    fitting = [spec.name for spec in bundled_blueprints(registry) if spec.layouts & host.layouts]
    if not fitting:
        raise EsperError(
            "E404",
            f'no bundled blueprint fits host "{config.host.name}"',
            why=f"its sites are {', '.join(sorted(host.layouts))}",
            fix="pip install esper-standard, or name blueprints: --set policy.blueprints='[\"…\"]'",
        )
    return tuple(fitting)


def _check_fit(blueprint: Registered, host: HostSpec) -> None:
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
