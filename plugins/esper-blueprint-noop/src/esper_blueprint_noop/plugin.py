"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the control: a seed that adds nothing."""
    yield BlueprintSpec(
        name="noop",
        summary="The control: adds nothing, has no parameters, is never germinated by a policy.",
        layouts=tuple(Layout),
        learnable=False,
        factory="esper_blueprint_noop.module:Noop",
    )
