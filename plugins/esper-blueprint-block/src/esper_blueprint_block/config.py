"""Options of the block blueprint."""

from enum import StrEnum

from attrs import field, frozen, validators

_COUNT = validators.optional(validators.and_(validators.instance_of(int), validators.ge(1)))


class Activation(StrEnum):
    """What stands between the two layers of the feed-forward."""

    GELU = "gelu"
    RELU = "relu"
    SILU = "silu"


@frozen(kw_only=True)
class BlockConfig:
    """Options of `block`. What is None is as in the site's own submodule, and where that does not show it, as said.

    Attributes:
        heads: number of attention heads; it must divide the site's width. Else the largest divisor up to 4.
        expansion: hidden features of the feed-forward as a multiple of the site's width. Else 4.
        activation: of the feed-forward: ``gelu``, ``relu`` or ``silu``. Else ``gelu``.
        limit: rms(update) stays below this many times rms(h), at every position.
    """

    heads: int | None = field(default=None, validator=_COUNT)
    expansion: int | None = field(default=None, validator=_COUNT)
    activation: Activation | None = field(
        default=None, converter=lambda value: None if value is None else Activation(value)
    )
    limit: float = field(default=1.0, converter=float, validator=(validators.gt(0.0), validators.lt(float("inf"))))
