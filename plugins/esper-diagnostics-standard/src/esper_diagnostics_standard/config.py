"""Options of the diagnostic."""

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from attrs import Attribute

_COUNT = validators.instance_of(int)
_NUMBER = validators.instance_of((int, float))


def _check_percentiles(_: object, attribute: "Attribute[tuple[float, ...]]", value: tuple[float, ...]) -> None:
    if [*value] != sorted({*value}) or any(not 0 <= one <= 100 for one in value):
        raise ValueError(f"'{attribute.name}' must rise, from 0 to 100, not {value}")


@frozen(kw_only=True)
class StandardConfig:
    """Options of `standard`.

    Attributes:
        every: look after each epoch whose number, from 0, is a multiple of this.
        percentiles: of the absolute values of all gradients, from 0 to 100.
        vanishing: a gradient below this absolute value has vanished.
        exploding: a gradient above this absolute value has exploded.
        sharpness_samples: directions in which the weights are moved to see how sharp the minimum is; 0: it is not seen.
        sharpness_scale: how far: this share of the norm of each filter.
        confusion: also tell how often each class was taken for each other.
    """

    every: int = field(default=1, validator=[_COUNT, validators.ge(1)])
    percentiles: tuple[float, ...] = field(default=(1.0, 50.0, 99.0), validator=_check_percentiles)
    vanishing: float = field(default=1e-7, validator=[_NUMBER, validators.gt(0.0)])
    exploding: float = field(default=1e3, validator=[_NUMBER, validators.gt(0.0)])
    sharpness_samples: int = field(default=5, validator=[_COUNT, validators.ge(0)])
    sharpness_scale: float = field(default=0.05, validator=[_NUMBER, validators.gt(0.0)])
    confusion: bool = field(default=False, validator=validators.instance_of(bool))
