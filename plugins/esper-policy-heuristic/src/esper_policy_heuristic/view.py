"""What the rules look at: one host before one epoch, and judgements about it."""

from collections.abc import Collection

from attrs import evolve, frozen

from esper_core.api import ActionMasks, HostSignals, Op, SlotSignals
from esper_policy_heuristic.config import HeuristicConfig


@frozen
class Fit:
    """How well a host fits, 1 at best.

    Attributes:
        train, validation: on training and validation data.
        measure: in what.
    """

    train: float
    validation: float
    measure: str

    @property
    def gap(self) -> float:
        """Training minus validation."""
        return self.train - self.validation


@frozen(kw_only=True)
class HostView:
    """One host before one epoch.

    Attributes:
        host: its signals.
        slots: its slots in site order.
        masks: what is possible.
        order: the blueprints by preference.
        config: the thresholds.
    """

    host: HostSignals
    slots: tuple[SlotSignals, ...]
    masks: ActionMasks
    order: tuple[str, ...]
    config: HeuristicConfig

    @property
    def progress(self) -> float:
        """The share of the run that is over, 0 to 1."""
        return self.host.progress

    @property
    def fit_bar(self) -> float:
        """The training accuracy that a host with room to spare would have by now.

        Once a seed is live the question has been answered: the other slots follow at once, not as the bar rises.
        """
        if self.live or self.progress >= self.config.fit_by:
            return self.config.fit_accuracy
        return self.config.fit_accuracy * self.progress / self.config.fit_by

    @property
    def fit(self) -> "Fit | None":
        """How well the host fits: its accuracy, or, where there is none, how much of the loss is gone.

        That is 1 - loss / scale; the scale is the loss of random guessing, or the first training loss remembered.
        """
        host = self.host
        if host.train_accuracy is not None and host.validation_accuracy is not None:
            return Fit(host.train_accuracy, host.validation_accuracy, "accuracy")
        first = next((loss for loss in host.curves.train_losses if loss is not None), None)
        scale = host.random_guess_loss or first
        if host.train_loss is None or host.validation_loss is None or not scale or scale <= 0.0:
            return None
        return Fit(1.0 - host.train_loss / scale, 1.0 - host.validation_loss / scale, "share of the loss that is gone")

    @property
    def live(self) -> int:
        """How many seeds are live."""
        return sum(slot.state.stage.live for slot in self.slots)

    @property
    def germinable(self) -> tuple[SlotSignals, ...]:
        """The slots in which a blueprint of the preference may be germinated, along the curve asked for."""
        if self.config.blend not in self.masks.blends:
            return ()
        possible = self.among(self.masks.slots_for(Op.GERMINATE))
        return tuple(slot for slot in possible if self.masks.blueprints_for(slot.slot) & set(self.order))

    def without(self, slot: str | None) -> "HostView":
        """The same view, in which nothing can be germinated in the slot."""
        others = {name: fitting for name, fitting in self.masks.germinate.items() if name != slot}
        return evolve(self, masks=evolve(self.masks, germinate=others))

    def among(self, names: Collection[str]) -> tuple[SlotSignals, ...]:
        """The slots with these names, in site order."""
        return tuple(slot for slot in self.slots if slot.slot in names)

    def on_plateau(self) -> bool:
        """Say whether the training loss has hardly improved lately; no if too few losses are known."""
        losses = self.host.curves.train_losses
        recent = [loss for loss in losses[-self.config.plateau_epochs :] if loss is not None]
        before = [loss for loss in losses[: -self.config.plateau_epochs] if loss is not None]
        if len(recent) < self.config.plateau_epochs or not before:
            return False
        return min(recent) > min(before) * (1.0 - self.config.plateau_improvement)
