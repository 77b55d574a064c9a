"""Options of the policy `compute`."""

from math import inf
from typing import Any

from attrs import Attribute, field, frozen, validators

from esper_core.api import Blend

#: What is tried first, a whole layer before its halves; a catalogue's other blueprints follow in the catalogue's order.
PREFERENCE = ("conv-light", "conv-heavy", "depthwise", "block", "mlp", "attention")

_NUMBER = validators.instance_of((int, float))
_COUNT = validators.and_(validators.instance_of(int), validators.ge(1))


def _share(default: float) -> Any:
    return field(default=default, validator=[_NUMBER, validators.ge(0.0), validators.le(1.0)])


def _distinct(_: Any, attribute: "Attribute[Any]", value: tuple[str, ...] | None) -> None:
    if value is not None and (not value or len(set(value)) < len(value)):
        raise ValueError(f"'{attribute.name}' must name at least one blueprint, and none twice: {list(value)!r}")


@frozen(kw_only=True)
class ComputeConfig:
    """Options of `compute`. Times are shares of the run, 0 to 1: of its epochs, or of its budget of operations.

    Attributes:
        trial_from: no seed is tried before.
        trial_until: a trial that has not begun by then is not worth while any more.
        refuse_from: a trial that does not pay yet goes on until then, and is given up if it does not pay after it.
        grow_until: after it nothing is germinated, whatever the trial has shown.
        factor: the network is not grown beyond this many times the host's own parameters.
        judge_after: epochs for which alpha has been 1 in every live seed before growing is judged, after each epoch.
        margin: by how much, as a share of the price, the gain must be above it to grow on.
        trials: how many seeds may be culled before growing is given up.
        preference: the only blueprints to germinate, best first; None: all of the catalogue, conv-light, conv-heavy,
            depthwise, block, mlp and attention first.
        blend: along which curve a seed's alpha rises.
        ramp_epochs: length of that rise; None for what ``lifecycle.ramp_epochs`` says.
    """

    trial_from: float = _share(0.1)
    trial_until: float = _share(0.3)
    refuse_from: float = _share(0.75)
    grow_until: float = _share(0.6)
    factor: float = field(default=4.0, validator=[_NUMBER, validators.gt(1.0), validators.lt(inf)])
    judge_after: int = field(default=3, validator=_COUNT)
    margin: float = field(default=0.1, validator=[_NUMBER, validators.ge(0.0), validators.lt(inf)])
    trials: int = field(default=1, validator=_COUNT)
    preference: tuple[str, ...] | None = field(default=None, validator=_distinct)
    blend: Blend = field(default=Blend.LINEAR, converter=Blend)
    ramp_epochs: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.ge(0)])
    )

    def __attrs_post_init__(self) -> None:
        if not self.trial_from < self.trial_until <= self.grow_until:
            times = f"{self.trial_from:g}, {self.trial_until:g}, {self.grow_until:g}"
            raise ValueError(f"'trial_from' < 'trial_until' <= 'grow_until' must hold, and they are {times}")
