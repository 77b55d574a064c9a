"""What growing has brought a host so far, and what its floating-point operations would have brought without it."""

from collections.abc import Iterable, Mapping
from math import log

from attrs import frozen

from esper_core.api import HostSignals, SlotSignals, Stage


@frozen(kw_only=True)
class Account:
    """Growing so far, in nats of the validation loss.

    Attributes:
        gain: the twin's loss minus the network's.
        price: by how much more the host's own loss would have fallen if it had been trained with the floating-point
            operations of growing instead.
        slope: by how much the twin's loss has fallen for each e-fold of training lately.
        epochs: how many epochs of the ungrown host the floating-point operations of growing would have paid for.
    """

    gain: float
    price: float
    slope: float
    epochs: float

    def in_words(self) -> str:
        """Return the figures."""
        return (
            f"gain {self.gain:+.4f} nats; the same FLOPs, {self.epochs:.1f} epochs of the host, are worth "
            f"{self.price:+.4f} at its slope of {self.slope:.3f} for each e-fold"
        )


def account(host: HostSignals, slots: Iterable[SlotSignals], twin: Mapping[int, float]) -> Account | None:
    """Compare what growing has gained with what the host would have made of its floating-point operations.

    Learning curves flatten out, also in the logarithm of the training. So the slope is that of the second half of the
    training so far, of the twin, which does not grow; of a longer stretch where the operations of growing would pay for
    a longer one from here on, but no longer than since the first seed. What comes next is worth less, not more. What
    growing costs is everything but the training of the host and its evaluation: the seeds' training, probes and
    counterfactuals, in epochs of the host.

    Args:
        host, slots: as they stand.
        twin: the twin's losses in nats by the number of epochs behind them, as far as they are remembered.

    Returns:
        None where a figure is missing: without a twin, without seeds, once a seed has become a part of the network (its
        training counts as the network's then), or where nothing can be counted.
    """
    held = [slot.state for slot in slots if slot.state.stage.live]
    if not held or any(slot.state.stage is Stage.FOSSILIZED for slot in slots):
        return None
    first, spent = host.epoch - max(state.age_epochs for state in held), host.compute
    before = _loss_after(host, first)
    if before is None or host.twin_validation_loss is None or host.twin_gain is None or spent is None:
        return None
    training, parts = spent.training, (spent.candidates, spent.probes, spent.counterfactuals)
    if not training or None in parts or not 0 < first < host.epoch:
        return None
    epochs = sum(part or 0 for part in parts) / (training / host.epoch)
    ahead = 1.0 + epochs / host.epoch
    # Up to the first seed the host was its own twin.
    known = {**twin, first: before, host.epoch: host.twin_validation_loss}
    begun = max(first, min(host.epoch / ahead, host.epoch / 2))
    slope = max(0.0, (_at(known, begun, host.epoch) - host.twin_validation_loss) / log(host.epoch / begun))
    return Account(gain=host.twin_gain, price=slope * log(ahead), slope=slope, epochs=epochs)


def _at(losses: Mapping[int, float], epochs: float, end: int) -> float:
    """The loss after so many epochs, between known ones: along a straight line in the logarithm of the epochs."""
    below = max(it for it in losses if it <= epochs)
    above = min((it for it in losses if epochs < it <= end), default=below)
    if above == below:
        return losses[below]
    share = log(epochs / below) / log(above / below)
    return losses[below] + share * (losses[above] - losses[below])


def _loss_after(host: HostSignals, epochs: int) -> float | None:
    """The validation loss after so many epochs, if it is still remembered."""
    losses = host.curves.validation_losses
    index = len(losses) - (host.epoch - epochs) - 1
    return losses[index] if 0 <= index < len(losses) else None
