"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Capability, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the low-rank update."""
    yield BlueprintSpec(
        name="lora",
        summary="A linear update of low rank and limited norm; of a linear or convolutional layer's own input (LoRA).",
        layouts=(Layout.BTD,),
        input_layouts=(Layout.BTD, Layout.BD, Layout.NCHW),
        capabilities=(Capability.SITE_INPUT, Capability.SITE_MODULE),
        factory="esper_blueprint_lora.module:Lora",
        config="esper_blueprint_lora.config:LoraConfig",
    )
