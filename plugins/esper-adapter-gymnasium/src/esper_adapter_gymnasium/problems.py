"""What ``esper/Growth-v0`` trains: a network with data, made from a seed."""

from collections.abc import Callable, Sequence

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

#: Pairs of inputs and targets.
Batches = Sequence[tuple[Tensor, Tensor]]


@frozen(eq=False, kw_only=True)
class Problem:
    """One training.

    Attributes:
        model: the network; fresh.
        sites: names of submodules, or globs, where it may grow.
        blueprints: that may be germinated, in order.
        train, validation: pairs of inputs and targets; those to train on are taken in this order in every epoch.
        loss: ``loss(outputs, targets)``, the mean over samples.
        random_guess_loss: of a network that knows nothing, in nats.
        lr: learning rate of Adam.
    """

    model: nn.Module
    sites: tuple[str, ...]
    blueprints: tuple[str, ...]
    train: Batches
    validation: Batches
    loss: Callable[[Tensor, Tensor], Tensor]
    random_guess_loss: float
    lr: float = 1e-2


class _Narrow(nn.Module):
    """Eight inputs, two layers of four units, two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 8) -> logits, (B, 2)."""
        logits: Tensor = self.head(self.second(self.first(x)))
        return logits


def products(seed: int) -> Problem:
    """Tell the sign of a sum of two products of inputs: more than the network can do as it begins.

    400 samples to train on, 200 to validate on; an epoch takes milliseconds. Torch's random state is left as it was.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(600, 8, generator=generator)
    targets = (inputs[:, 0] * inputs[:, 1] + inputs[:, 2] * inputs[:, 3] > 0).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _Narrow()
    return Problem(
        model=model,
        sites=("first", "second"),
        blueprints=("mlp",),
        train=[*zip(torch.split(inputs[:400], 50), torch.split(targets[:400], 50), strict=True)],
        validation=[(inputs[400:], targets[400:])],
        loss=cross_entropy,
        random_guess_loss=float(torch.tensor(2.0).log()),
    )
