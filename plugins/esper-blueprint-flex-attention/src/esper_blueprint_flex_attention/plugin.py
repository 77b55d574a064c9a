"""What this distribution offers."""

from collections.abc import Iterable

from esper_blueprint_flex_attention.availability import unavailable
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Capability, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer self-attention through FlexAttention; it is listed even where it cannot run."""
    yield BlueprintSpec(
        name="flex-attention",
        summary="Multi-head self-attention through FlexAttention, with an optional window; needs an accelerator.",
        layouts=(Layout.BTD,),
        capabilities=(Capability.NO_EXPORT, Capability.PADDING_MASK),
        unavailable=unavailable(),
        factory="esper_blueprint_flex_attention.module:FlexAttention",
        config="esper_blueprint_flex_attention.config:FlexAttentionConfig",
    )
