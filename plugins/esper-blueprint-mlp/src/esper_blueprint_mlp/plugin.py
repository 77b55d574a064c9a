"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the perceptron."""
    yield BlueprintSpec(
        name="mlp",
        summary="A two-layer perceptron at each position.",
        layouts=(Layout.BTD, Layout.BD),
        factory="esper_blueprint_mlp.module:Mlp",
        config="esper_blueprint_mlp.config:MlpConfig",
    )
