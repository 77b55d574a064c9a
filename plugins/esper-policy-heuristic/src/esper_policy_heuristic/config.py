"""Options of the heuristic policy."""

from math import inf
from typing import Any

from attrs import Attribute, field, frozen, validators

from esper_core.api import WINDOW_EPOCHS, Blend

#: What is tried first, per layout; a catalogue's other blueprints follow in the catalogue's order.
PREFERENCE = (
    "conv-light",
    "conv-heavy",
    "depthwise",
    "group-norm",
    "squeeze-excite",
    "bottleneck",
    "mlp",
    "attention",
    "flex-attention",
    "lora",
    "layer-norm",
)

_NUMBER = validators.instance_of((int, float))


def _share(default: float, most: float = 1.0) -> Any:
    return field(default=default, validator=[_NUMBER, validators.ge(0.0), validators.le(most)])


def _epochs(default: int, most: float = inf) -> Any:
    return field(default=default, validator=[validators.instance_of(int), validators.ge(1), validators.le(most)])


def _distinct(_: Any, attribute: "Attribute[Any]", value: tuple[str, ...] | None) -> None:
    if value is not None and (not value or len(set(value)) < len(value)):
        raise ValueError(f"'{attribute.name}' must name at least one blueprint, and none twice: {list(value)!r}")


@frozen(kw_only=True)
class HeuristicConfig:
    """Options of `heuristic`. Accuracies are 0 to 1; times are shares of the run (epochs or `flops`), 0 to 1.

    Where accuracy is not known, the share of the loss that is gone stands in for it: 1 - loss / scale, the scale being
    random guessing's loss, or the first one.

    Attributes:
        germinate_from: nothing is germinated before.
        germinate_until: after it only a plateau makes a germination worth while; 0.7 at most.
        germinations: how many seeds, in different slots, are germinated in one epoch at most. Those that the limits of
            the run do not allow together are denied.
        plateau_until: after it nothing is germinated; 0.5 at most, 0 for no germination on a plateau.
        fit_accuracy: a host with this training accuracy fits its data and is left alone.
        fit_by: when a host with room to spare gets there; until then, and until a first seed is live, the bar rises
            to `fit_accuracy` in a straight line from 0.
        max_accuracy_gap: training minus validation accuracy above which the host overfits and is left alone.
        plateau_epochs: length of a plateau in epochs; it is compared with the best of the 64 epochs up to its end.
        plateau_improvement: relative improvement of the best training loss that is too small to end a plateau.
        settle_epochs: epochs after a seed's ramp before its contribution is judged.
        useless_confidence: one-sided confidence that the contribution is below zero with which a seed is culled.
        preference: the only blueprints to germinate, best first; None: all of the catalogue, conv-light,
            conv-heavy, depthwise, group-norm, squeeze-excite, bottleneck, mlp, attention, flex-attention, lora and
            layer-norm first.
        cull_penalty: places that a blueprint loses in the preference when one of its seeds is culled.
        cull_penalty_decay: factor on that penalty for every later cull in the same slot.
        blend: how a seed is blended in: along which curve its alpha rises, or ``gated``, with a share for each sample.
        ramp_epochs: length of that rise; 0 for alpha 1 at once, None for what ``lifecycle.ramp_epochs`` says.
    """

    germinate_from: float = _share(0.05)
    germinate_until: float = _share(0.4, most=0.7)
    germinations: int = _epochs(1)
    plateau_until: float = _share(0.5, most=0.5)
    fit_accuracy: float = _share(0.95)
    fit_by: float = _share(0.2)
    max_accuracy_gap: float = _share(0.15)
    plateau_epochs: int = _epochs(3, most=WINDOW_EPOCHS - 1)
    plateau_improvement: float = _share(0.02)
    settle_epochs: int = _epochs(3)
    useless_confidence: float = field(default=0.95, validator=[_NUMBER, validators.ge(0.5), validators.lt(1.0)])
    preference: tuple[str, ...] | None = field(default=None, validator=_distinct)
    cull_penalty: float = field(default=2.0, validator=[_NUMBER, validators.ge(0.0)])
    cull_penalty_decay: float = _share(0.5)
    blend: Blend = field(default=Blend.LINEAR, converter=Blend)
    ramp_epochs: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.ge(0)])
    )

    def __attrs_post_init__(self) -> None:
        begin, end = self.germinate_from, self.germinate_until
        if begin >= end:
            raise ValueError(f"'germinate_from' ({begin:g}) must be before 'germinate_until' ({end:g})")
