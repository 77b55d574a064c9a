"""What looks into a growing network after an epoch, and what it says."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attrs import field, frozen

from esper_core.leyline.observation import SlotState

if TYPE_CHECKING:
    from torch import Tensor, nn

    from esper_core.leyline.protocols import Criterion


@frozen(kw_only=True)
class NetworkView:
    """A growing network after an epoch, as a diagnostic is shown it.

    Attributes:
        host: its name in the run.
        epoch: the epoch that is over, from 0.
        model: the network, in evaluation mode; gradients are off.
        slots: its slots as they stand.
        inputs, targets: one batch of the validation split, the same in every epoch. In a loop of the user's own the
            inputs may be a tuple or a mapping of arguments.
        criterion: loss and metric of each sample.
    """

    host: str
    epoch: int
    model: "nn.Module"
    slots: tuple[SlotState, ...]
    inputs: "Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]"
    targets: "Tensor"
    criterion: "Criterion"


@runtime_checkable
class Diagnostic(Protocol):
    """Looks into a growing network and changes nothing: no weight, gradient, hook or mode, and no random generator.

    torch's global generators are its own while it looks: they begin with a seed that follows from the run's, its name
    and the epoch, and are put back afterwards.
    """

    def examine(self, view: NetworkView) -> Any:
        """Return what was found: an instance of an attrs class, of plain values; None to tell nothing this time."""
        ...


@frozen(kw_only=True)
class Finding:
    """What a diagnostic found in a network after an epoch.

    Attributes:
        diagnostic: its name.
        data: what it found, as plain data.
        error: why it found nothing; "" if it did.
    """

    diagnostic: str
    data: Mapping[str, Any] = field(factory=dict)
    error: str = ""
