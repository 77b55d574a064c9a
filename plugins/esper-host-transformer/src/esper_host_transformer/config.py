"""Options of the host `transformer`."""

from collections.abc import Iterable
from enum import StrEnum
from math import isfinite

from attrs import Attribute, field, frozen, validators


class SiteKind(StrEnum):
    """The part of a layer whose output is a site."""

    BLOCK = "block"
    ATTENTION = "attention"
    MLP = "mlp"
    LINEAR = "linear"


class Init(StrEnum):
    """How the linear layers are drawn."""

    SCALED = "scaled"
    GPT2 = "gpt2"


def _site_kinds(names: Iterable[str]) -> tuple[SiteKind, ...]:
    return tuple(SiteKind(name) for name in names)


_POSITIVE = (validators.instance_of(int), validators.gt(0))


@frozen(kw_only=True)
class TransformerConfig:
    """Options of the host `transformer`.

    Attributes:
        layers: number of layers, each an attention and an MLP.
        heads: attention heads; must divide `width`.
        width: features of each position.
        context: length of the longest supported sequence. None: the length of the task's sequences.
        dropout: share of embeddings, attention weights and residual updates that is dropped in training.
        mlp_ratio: hidden features of an MLP relative to `width`.
        sites: where slots may act: ``block`` (after each layer), ``attention`` and ``mlp`` (their outputs, before they
            are added to the residual stream), ``linear`` (each of the four linear layers in both, whose seeds can see
            their input).
        init: how linear layers are drawn, with a variance of ``1 / (3 * inputs)`` (``scaled``), as torch's default has
            it, or of 0.02^2 whatever the width (``gpt2``). Both scale down what adds to the residual stream.
    """

    layers: int = field(default=2, validator=_POSITIVE)
    heads: int = field(default=4, validator=_POSITIVE)
    width: int = field(default=64, validator=_POSITIVE)
    context: int | None = field(default=None, validator=validators.optional(_POSITIVE))
    dropout: float = field(default=0.0, converter=float, validator=[validators.ge(0.0), validators.lt(1.0)])
    mlp_ratio: float = field(default=4.0, converter=float, validator=validators.gt(0.0))
    sites: tuple[SiteKind, ...] = field(
        default=(SiteKind.BLOCK,), converter=_site_kinds, validator=validators.min_len(1)
    )
    init: Init = field(default=Init.SCALED, converter=Init)

    @mlp_ratio.validator
    def _has_hidden_features(self, _: "Attribute[float]", value: float) -> None:
        if not isfinite(value) or int(value * self.width) < 1:
            raise ValueError(f"'mlp_ratio' is {value}, which leaves an MLP of width {self.width} no hidden features")

    @sites.validator
    def _names_nothing_twice(self, _: "Attribute[tuple[SiteKind, ...]]", value: tuple[SiteKind, ...]) -> None:
        if len(set(value)) < len(value):
            raise ValueError(f"'sites' must not name anything twice: {[kind.value for kind in value]}")

    @property
    def hidden(self) -> int:
        """Hidden features of an MLP."""
        return int(self.mlp_ratio * self.width)
