"""The dossiers of the blueprints that come with Esper. Risk and stage are judgements, made when they were written."""

from collections.abc import Iterable, Mapping

from esper_core.hooks import hookimpl
from esper_karn.kinds import Bounds, DossierSpec, Tier

ESPER_API = "2.0"

_OWN = "esper-blueprint-{}"
_EXTRA = "esper-blueprints-extra"
_SAFE, _EXPERIMENTAL = Tier.SAFE, Tier.EXPERIMENTAL

_Row = tuple[str, str, Tier, float, int, tuple[str, ...], Mapping[str, Bounds]]

#: Blueprint, distribution, tier, risk, stage, tags, bounds.
_ROWS: tuple[_Row, ...] = (
    ("noop", _OWN, _SAFE, 0.0, 0, ("control",), {}),
    ("layer-norm", _OWN, _SAFE, 0.1, 0, ("normalisation",), {}),
    ("group-norm", _OWN, _SAFE, 0.1, 0, ("normalisation",), {"groups": (1, 64)}),
    ("lora", _OWN, _SAFE, 0.1, 0, ("linear", "low-rank"), {"rank": (1, 64), "limit": (0.01, 2.0)}),
    ("mlp", _OWN, _SAFE, 0.3, 1, ("perceptron",), {"expansion": (1, 8)}),
    ("conv-light", _OWN, _SAFE, 0.3, 1, ("convolution",), {"kernel": (1, 7)}),
    ("conv-heavy", _OWN, _SAFE, 0.3, 1, ("convolution",), {"expansion": (1, 4)}),
    ("bottleneck", _OWN, _SAFE, 0.3, 1, ("convolution",), {"ratio": (0.0625, 1.0)}),
    ("depthwise", _OWN, _SAFE, 0.4, 2, ("convolution",), {"kernel": (1, 7)}),
    ("squeeze-excite", _OWN, _SAFE, 0.4, 2, ("attention", "gate"), {"reduction": (1, 16)}),
    ("attention", _OWN, _SAFE, 0.5, 3, ("attention",), {"heads": (1, 16)}),
    ("flex-attention", _OWN, _SAFE, 0.5, 3, ("attention",), {"heads": (1, 16), "window": (1, 4096)}),
    ("residual-block", _OWN, _SAFE, 0.4, 2, ("convolution",), {"expansion": (1, 4), "kernel": (1, 7)}),
    ("block", _OWN, _SAFE, 0.5, 3, ("attention", "perceptron"), {"heads": (1, 16), "expansion": (1, 8)}),
    ("copy", _OWN, _EXPERIMENTAL, 0.6, 4, ("copy",), {"limit": (0.01, 2.0)}),
    ("grouped-conv", _EXTRA, _SAFE, 0.4, 1, ("convolution",), {"kernel": (1, 7), "groups": (1, 16)}),
    ("highway", _EXTRA, _SAFE, 0.4, 1, ("gate", "perceptron"), {"bias": (-3.0, 3.0)}),
    ("large-kernel", _EXTRA, _SAFE, 0.4, 2, ("convolution",), {"kernel": (3, 15), "expansion": (1, 4)}),
    ("channel-attention", _EXTRA, _SAFE, 0.4, 2, ("attention", "gate"), {"kernel": (1, 9)}),
    ("spatial-attention", _EXTRA, _SAFE, 0.4, 2, ("attention", "gate"), {"kernel": (1, 11)}),
    ("gated-mlp", _EXTRA, _SAFE, 0.5, 2, ("gate", "perceptron"), {"expansion": (1, 6)}),
    ("dynamic-conv", _EXTRA, _SAFE, 0.5, 3, ("convolution", "mixture"), {"kernel": (1, 7), "experts": (2, 8)}),
    ("pyramid-pooling", _EXTRA, _SAFE, 0.5, 3, ("pooling",), {"levels": (1, 6)}),
    ("dense-block", _EXTRA, _SAFE, 0.5, 3, ("convolution",), {"growth": (1, 48), "layers": (1, 4)}),
    ("dilated-conv", _EXTRA, _SAFE, 0.5, 4, ("convolution",), {"kernel": (1, 7), "dilation": (1, 8)}),
    ("temporal-conv", _EXTRA, _SAFE, 0.5, 4, ("convolution",), {"kernel": (1, 9), "dilation": (1, 8)}),
    ("non-local", _EXTRA, _SAFE, 0.5, 4, ("attention",), {"reduction": (1, 8), "pool": (1, 4)}),
    ("mixture-of-experts", _EXTRA, _EXPERIMENTAL, 0.7, 5, ("mixture",), {"experts": (2, 8), "expansion": (1, 4)}),
    ("memory", _EXTRA, _EXPERIMENTAL, 0.8, 5, ("memory",), {"slots": (2, 128)}),
    ("recursive-mlp", _EXTRA, _EXPERIMENTAL, 0.8, 5, ("perceptron",), {"depth": (1, 6), "expansion": (1, 4)}),
)


@hookimpl
def esper_dossiers() -> Iterable[DossierSpec]:
    """Offer the dossiers."""
    for blueprint, distribution, tier, risk, stage, tags, bounds in _ROWS:
        yield DossierSpec(
            name=blueprint,
            summary=f"What is recorded of {blueprint}.",
            distribution=distribution.format(blueprint),
            tier=tier,
            risk=risk,
            stage=stage,
            tags=tags,
            bounds=bounds,
            approval_required=tier is _EXPERIMENTAL,
        )
