"""How large seeds grow in isolated training: prints rms(delta) / rms(h) for every blueprint.

A small host of each layout is trained on the digits of scikit-learn for a few epochs; then a seed is trained
straight-through for ten more: the loss sees the host's own activation, the seed sees the loss's gradient, and nothing
holds the seed back but its own construction. Shown are the first, third and last epoch (mean over runs) and the largest
value of any epoch of any run, measured on held-out samples.

    python tests/benchmarks/seed_rms.py [--runs 3] [--epochs 10] [--only conv-light] [--zero]
"""

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib.metadata import entry_points
from pkgutil import resolve_name

import torch
from attrs import frozen
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from zero_born import zero_born

from esper_core.api import EsperError, Layout, Site
from esper_core.specs import BlueprintSpec, Capability

HOST_EPOCHS = 8
BATCH = 64

OPTIMIZERS: dict[str, Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD 0.1": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "AdamW 0.01": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01),
}


@frozen(kw_only=True)
class Host:
    """A host in two pieces, with a seed's site between them; `module` is the submodule of the site."""

    site: Site
    module: nn.Module
    before: nn.Module
    after: nn.Module

    def parameters(self) -> Iterator[nn.Parameter]:
        yield from self.before.parameters()
        yield from self.after.parameters()


class Mean(nn.Module):
    """Means over the given axes."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axes)


def image_host() -> Host:
    """Two convolutional blocks of 4 and 8 channels, the site behind the second."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [conv, nn.GroupNorm(2, outputs), nn.ReLU(), nn.MaxPool2d(2)]

    last = nn.Sequential(*block(4, 8))
    before = nn.Sequential(nn.Unflatten(1, (1, 8)), *block(1, 4), last)
    site = Site(id="block2", path="before", layout=Layout.NCHW, width=8, sample_shape=(8, 2, 2))
    return Host(site=site, module=last, before=before, after=nn.Sequential(Mean(2, 3), nn.Linear(8, 10)))


def sequence_host() -> Host:
    """One transformer layer over the eight rows of a digit, the site behind it."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, norm_first=True)
    site = Site(id="layer1", path="before", layout=Layout.BTD, width=16, sample_shape=(8, 16), causal=True)
    after = nn.Sequential(nn.LayerNorm(16), Mean(1), nn.Linear(16, 10))
    return Host(site=site, module=layer, before=nn.Sequential(nn.Linear(8, 16), layer), after=after)


def vector_host() -> Host:
    """A perceptron with one hidden layer, the site behind it."""
    site = Site(id="hidden", path="before", layout=Layout.BD, width=16, sample_shape=(16,))
    hidden = nn.Sequential(nn.Linear(64, 16), nn.ReLU())
    return Host(site=site, module=hidden, before=nn.Sequential(nn.Flatten(), hidden), after=nn.Linear(16, 10))


HOSTS: dict[Layout, Callable[[], Host]] = {
    Layout.NCHW: image_host,
    Layout.BTD: sequence_host,
    Layout.BD: vector_host,
}


def rms(x: Tensor) -> float:
    """Return the root of the mean square."""
    return x.square().mean().sqrt().item()


def train_epoch(
    host: Host, seed: nn.Module | None, optimizers: list[torch.optim.Optimizer], data: list[Tensor]
) -> None:
    """Train one epoch; a seed is trained straight-through."""
    images, labels = data
    for batch in torch.randperm(len(images)).split(BATCH):
        h = host.before(images[batch])
        if seed is not None:
            delta = seed(h.detach())
            h = h + (delta - delta.detach())
        loss = F.cross_entropy(host.after(h), labels[batch])
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()


def ratios(
    spec: BlueprintSpec, layout: Layout, optimizer: str, run: int, epochs: int, zero: bool
) -> list[float] | None:
    """Return rms(delta) / rms(h) on held-out samples after each epoch of isolated training; None: it does not fit."""
    torch.manual_seed(run)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    shuffled = torch.randperm(len(images))
    train, held_out = shuffled[:1078], shuffled[1078:1437]
    host = HOSTS[layout]()
    host_optimizer = OPTIMIZERS[optimizer](host.parameters())
    for _ in range(HOST_EPOCHS):
        train_epoch(host, None, [host_optimizer], [images[train], labels[train]])
    config = resolve_name(spec.config)() if isinstance(spec.config, str) else None
    shown = [deepcopy(host.module)] if Capability.SITE_MODULE in spec.capabilities else []
    try:
        seed = resolve_name(str(spec.factory))(host.site, config, *shown)
    except EsperError:
        return None
    if zero and (seed := zero_born(spec.name, seed, host.site)) is None:
        return None
    seed_optimizer = OPTIMIZERS[optimizer](seed.parameters())
    measured = []
    for _ in range(epochs):
        train_epoch(host, seed, [host_optimizer, seed_optimizer], [images[train], labels[train]])
        with torch.no_grad():
            h = host.before(images[held_out])
            measured.append(rms(seed(h)) / rms(h))
    return measured


def blueprints(only: str | None) -> Iterator[BlueprintSpec]:
    """Yield the installed blueprints that can learn and run here."""
    for entry_point in sorted(entry_points(group="esper"), key=lambda point: point.name):
        if entry_point.name.startswith(("blueprint-", "blueprints-")):
            for spec in entry_point.load().esper_blueprints():
                if spec.learnable and not spec.unavailable and only in (None, spec.name):
                    yield spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs per row, each with its own seed")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of isolated training")
    parser.add_argument("--zero", action="store_true", help="zero output projections in place of gains of zero")
    parser.add_argument("--only", help="name of one blueprint")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| blueprint | layout | optimizer | epoch 1 | epoch 3 | last | largest |\n|---|---|---|---|---|---|---|")
    for spec in blueprints(arguments.only):
        for layout in sorted(spec.layouts):
            for optimizer in OPTIMIZERS:
                found = [
                    ratios(spec, layout, optimizer, run, arguments.epochs, arguments.zero)
                    for run in range(arguments.runs)
                ]
                if None in found:
                    continue
                runs = [run for run in found if run is not None]
                shown = [sum(run[min(at, len(run)) - 1] for run in runs) / len(runs) for at in (1, 3, arguments.epochs)]
                largest = max(max(run) for run in runs)
                cells = [spec.name, str(layout), optimizer, *(f"{value:.2f}" for value in (*shown, largest))]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
