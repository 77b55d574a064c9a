"""From a registered blueprint to a seed_factory that can be built."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.records import plain
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import BlueprintSpec, Capability
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, resolve

if TYPE_CHECKING:
    from torch import nn


def seed_factory(registry: Registry, name: str, options: Mapping[str, Any]) -> SeedFactory:
    """Return the seed_factory of a blueprint with these options.

    Raises:
        EsperError: E204 for an unknown name, E160, E161 if it cannot be had, E201, E202 for wrong options.
    """
    registered = registry.get(BlueprintSpec.kind, name, where="policy.blueprints")
    spec = registered.spec
    assert isinstance(spec, BlueprintSpec)
    config = build_config(registered, options, path=f"blueprints.{name}")
    return SeedFactory(
        entry=CatalogueEntry(
            name=name,
            layouts=spec.layouts,
            # Complete: a default that is written out makes no other catalogue.
            options={} if config is None else plain(config),
            distribution=registered.origin.distribution or "",
            version=registered.origin.version or "",
            learnable=spec.learnable,
            input_layouts=spec.input_layouts,
        ),
        build=partial(_build_seed, resolve(registered), config),
        draws_random_numbers=Capability.RANDOM in spec.capabilities,
        takes_mask=Capability.PADDING_MASK in spec.capabilities,
        takes_input=Capability.SITE_INPUT in spec.capabilities,
        shown_module=Capability.SITE_MODULE in spec.capabilities,
    )


def _build_seed(factory: Callable[..., "nn.Module"], options: Any, site: Site, *shown: "nn.Module") -> "nn.Module":
    return factory(site, options, *shown)
