"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Capability, Layout

ESPER_API = "2.0"

_IMAGES, _FEATURES, _SEQUENCES = (Layout.NCHW,), (Layout.BTD, Layout.BD), (Layout.BTD,)

#: Name, module, class, layouts, summary.
_OFFERED = (
    ("grouped-conv", "convolutions", "GroupedConv", _IMAGES, "Convolves channels in groups, then mixes all of them."),
    ("dilated-conv", "convolutions", "DilatedConv", _IMAGES, "A convolution that sees further at the same cost."),
    ("dynamic-conv", "convolutions", "DynamicConv", _IMAGES, "A convolution whose kernel depends on the image."),
    ("large-kernel", "convolutions", "LargeKernel", _IMAGES, "A wide depthwise convolution, then a perceptron."),
    ("dense-block", "convolutions", "DenseBlock", _IMAGES, "Convolutions that each see all that came before."),
    ("pyramid-pooling", "convolutions", "PyramidPooling", _IMAGES, "Adds what coarse views of the image show."),
    ("channel-attention", "image_attention", "ChannelAttention", _IMAGES, "Weights channels by their neighbours."),
    ("spatial-attention", "image_attention", "SpatialAttention", _IMAGES, "Weights the positions of an image."),
    ("non-local", "image_attention", "NonLocal", _IMAGES, "Attention between all positions of an image."),
    ("gated-mlp", "perceptrons", "GatedMlp", _FEATURES, "A perceptron whose hidden units are gated by others."),
    ("mixture-of-experts", "perceptrons", "MixtureOfExperts", _FEATURES, "Perceptrons, weighted by the input."),
    ("highway", "perceptrons", "Highway", _FEATURES, "Replaces part of the activation, by a gate."),
    ("memory", "perceptrons", "Memory", _FEATURES, "Reads from a learned table."),
    ("recursive-mlp", "perceptrons", "RecursiveMlp", _FEATURES, "One perceptron, applied several times."),
    (
        "temporal-conv",
        "temporal_conv",
        "TemporalConv",
        _SEQUENCES,
        "A convolution along the sequence.",
    ),
)


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the blueprints."""
    for name, module, factory, layouts, summary in _OFFERED:
        yield BlueprintSpec(
            name=name,
            summary=summary,
            layouts=layouts,
            capabilities=(Capability.PADDING_MASK,) if name == "temporal-conv" else (),
            factory=f"esper_blueprints_extra.{module}:{factory}",
            config=f"esper_blueprints_extra.config:{factory}Config",
        )
