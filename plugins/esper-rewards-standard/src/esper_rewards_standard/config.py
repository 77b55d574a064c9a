"""Options of the reward terms."""

from enum import StrEnum
from typing import Any

from attrs import field, frozen, validators

_NUMBER = validators.instance_of((int, float))


def _price(default: float) -> Any:
    return field(default=default, validator=[_NUMBER, validators.ge(0.0), validators.le(1.0)])


def _epochs(default: int) -> Any:
    return field(default=default, validator=[validators.instance_of(int), validators.ge(1)])


class Measure(StrEnum):
    """What growth is counted in."""

    FLOPS = "flops"
    PARAMETERS = "parameters"


@frozen(kw_only=True)
class StagePotentialConfig:
    """Options of `stage-potential`.

    Attributes:
        patience_epochs: in how many epochs a stage's potential rises to that of the next stage, by `lingering`.
        lingering: what share of the way to the next stage's potential the epochs spent in a stage are worth, 0 to 1.
    """

    patience_epochs: int = _epochs(5)
    lingering: float = _price(0.5)


@frozen(kw_only=True)
class RentConfig:
    """Options of `rent`.

    Attributes:
        of: what growth is counted in: ``flops`` of a forward pass over the twin's, or ``parameters`` over the host's
            own. Where the operations of one of the two cannot be counted, or there is no twin, it is parameters.
    """

    of: Measure = field(default=Measure.FLOPS, converter=Measure)


@frozen(kw_only=True)
class InterventionConfig:
    """Options of `intervention`: the price of each operation, 0 to 1.

    Attributes:
        germinate, cull, fossilize: the prices; waiting costs nothing.
    """

    germinate: float = _price(0.02)
    cull: float = _price(0.005)
    fossilize: float = _price(0.01)


@frozen(kw_only=True)
class AutomaticConfig:
    """Options of `automatic`, 0 to 1.

    Attributes:
        cull: the price of each seed that a gate, a timeout or its own harm has culled.
        stop: the price of a host that its governor has stopped or rolled back.
    """

    cull: float = _price(0.2)
    stop: float = _price(1.0)


@frozen(kw_only=True)
class FossilizationConfig:
    """Options of `fossilization`.

    Attributes:
        base: what fossilizing a seed that contributes is worth at least, 0 to 1; the rest up to 1 follows its credit.
        full_credit: the credit, as a share of random guessing's loss, that is worth 1.
    """

    base: float = _price(0.5)
    full_credit: float = field(default=0.1, validator=[_NUMBER, validators.gt(0.0), validators.le(1.0)])


@frozen(kw_only=True)
class EarlyCullConfig:
    """Options of `early-cull`.

    Attributes:
        least_epochs: a seed younger than this that the policy culls costs 1.
    """

    least_epochs: int = _epochs(5)


@frozen(kw_only=True)
class WarningConfig:
    """Options of `warning`: for each epoch that something lasts, 0 to 1.

    Attributes:
        harmful: of a blending seed that surely makes the loss worse, by epochs since its ramp began.
        waiting: of a seed that may be fossilized and is not, by epochs in PROBATIONARY.
    """

    harmful: float = _price(0.1)
    waiting: float = _price(0.05)


@frozen(kw_only=True)
class TerminalConfig:
    """Options of `terminal`.

    Attributes:
        rent: accuracy, 0 to 1, that a network of twice the host's parameters must have gained; see `growth_ratio`.
    """

    rent: float = _price(0.1)
