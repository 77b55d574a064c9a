"""What a slot costs a training step, by what it holds: `python tests/benchmarks/seed_cost.py`.

All variants are built side by side in one process and timed in turn; the figure is the ratio of medians to the bare
host's, with the interquartile range of the rounds' ratios. CPU time of one thread, channels_last, SGD with momentum.
"""

import argparse
from collections.abc import Callable
from statistics import median, quantiles
from time import process_time

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from esper_core.kasmina.forward_mode import ForwardMode, isolated_input, open_input
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import SiteRequest
from esper_core.nn import BoundedGain, group_count

#: The mode, and how the update is added: as Esper does it, with nothing but an update that is not finite left out, or
#: just so. The last two give the seed the host's own activation, not a copy.
REGIMES: dict[str, tuple[ForwardMode, str] | None] = {
    "bare host": None,
    "3 dormant slots": None,
    "1 straight through": (ForwardMode.STRAIGHT_THROUGH, "as it is"),
    "1 isolated, bounded": (ForwardMode.ISOLATED, "as it is"),
    "1 isolated, finite": (ForwardMode.ISOLATED, "finite"),
    "1 isolated, plain": (ForwardMode.ISOLATED, "plain"),
    "1 open, bounded": (ForwardMode.OPEN, "as it is"),
    "1 open, finite": (ForwardMode.OPEN, "finite"),
    "1 open, plain": (ForwardMode.OPEN, "plain"),
    "1 fossil": (ForwardMode.FOSSIL, "as it is"),
}


class Host(nn.Module):
    """Three blocks of convolution, group normalisation, ReLU and pooling; a linear head."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1, bias=False), nn.GroupNorm(group_count(b), b), nn.ReLU(), nn.MaxPool2d(2)
            )
            for a, b in zip((3, *widths), widths, strict=False)
        )
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=(2, 3)))


class Seed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(group_count(width), width), nn.ReLU()
        )
        self.gain = BoundedGain(width, Layout.NCHW)

    def forward(self, h: Tensor) -> Tensor:
        return self.gain(self.body(h), h)


class AddFinite(torch.autograd.Function):
    """``h + alpha * update``, or h where the update holds a number that is not finite: the cheapest guard there is."""

    @staticmethod
    def forward(ctx, h, update, alpha):
        finite = update.sum().isfinite()
        ctx.save_for_backward(alpha, finite)
        return h + torch.where(finite, update * alpha, 0.0)

    @staticmethod
    def backward(ctx, grad):
        alpha, finite = ctx.saved_tensors
        return grad, torch.where(finite, grad * alpha, 0.0), None


def step_of(name: str, widths: tuple[int, ...], inputs: Tensor, targets: Tensor) -> Callable[[], None]:
    torch.manual_seed(0)
    model: nn.Module = Host(widths).to(memory_format=torch.channels_last)
    if name != "bare host":
        model = prepare_root(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    if name != "bare host":
        sites = confirm_sites(
            model, [SiteRequest(path=f"blocks.{i}", id=f"block{i}") for i in range(3)], lambda m: m(inputs)
        )
        plant(name, SlotSet(model, sites, optimizer))

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return step


def plant(name: str, slot_set: SlotSet) -> None:
    chosen = REGIMES[name]
    if chosen is None:
        return
    forward_mode, how = chosen
    site = slot_set.sites["block1"]
    slot_set.plant(site, "seed", Seed(site.width), 0, random=False, learning_rate=0.01)
    slot = slot_set.attach(site)
    slot.enter(forward_mode)
    slot.set_alpha(0.5)
    if how == "as it is":
        return
    isolated = forward_mode is ForwardMode.ISOLATED

    def act(h: Tensor, mask: Tensor | None = None) -> Tensor:
        update = slot.seed(isolated_input(h, needs_graph=slot.needs_graph) if isolated else open_input(h))
        return AddFinite.apply(h, update, slot.alpha) if how == "finite" else h + slot.alpha * update

    object.__setattr__(slot, "act", act)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--widths", type=int, nargs=3, default=(8, 16, 32))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    inputs = torch.randn(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 10, (128,))
    steps = {name: step_of(name, tuple(arguments.widths), inputs, targets) for name in REGIMES}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(arguments.rounds + 3):
        for name, step in steps.items():
            began = process_time()
            step()
            if turn >= 3:
                times[name].append(process_time() - began)
    base = times["bare host"]
    print(f"widths {tuple(arguments.widths)}, bare step {1000 * median(base):.1f} ms, {arguments.rounds} rounds")
    for name, spent in times.items():
        ratios = [a / b for a, b in zip(spent, base, strict=True)]
        low, _, high = quantiles(ratios, n=4)
        print(f"{name:24} {median(spent) / median(base):5.2f}  (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
