"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Capability, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the copy."""
    yield BlueprintSpec(
        name="copy",
        summary="A copy of the site's own submodule, its output projections zero.",
        layouts=(Layout.NCHW, Layout.BTD, Layout.BD),
        # Whether a submodule draws random numbers in training, does not show.
        capabilities=(Capability.SITE_MODULE, Capability.RANDOM),
        factory="esper_blueprint_copy.module:Copy",
        config="esper_blueprint_copy.config:CopyConfig",
    )
