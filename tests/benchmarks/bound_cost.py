"""What it costs to add a bounded update, next to cheaper ways: `python tests/benchmarks/bound_cost.py`.

Printed is the CPU time of adding one update and of its backward pass, in microseconds: median and quartiles. All ways
are timed in turn, on one thread. The seed itself is not in it.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import quantiles
from time import process_time

import torch
from torch import Tensor

from esper_core.kasmina.forward_mode import add_bounded
from esper_core.leyline.layouts import Layout

SHAPES = {
    Layout.NCHW: [(64, 8, 16, 16), (128, 16, 16, 16)],
    Layout.BTD: [(32, 128, 128)],
    Layout.BD: [(256, 128)],
}


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


def ways(layout: Layout) -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    return {
        "bounded, and a copy of h": partial(_bounded, layout),
        "not finite left out": AddFinite.apply,
        "plain": lambda h, delta, alpha: h + alpha * delta,
    }


def _bounded(layout: Layout, h: Tensor, delta: Tensor, alpha: Tensor) -> Tensor:
    h.clone()  # what the seed is given
    return add_bounded(h, delta, alpha, limit=2.0, axes=layout.row_axes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for layout, shapes in SHAPES.items():
        for shape in shapes:
            h, alpha = torch.randn(shape), torch.tensor(0.5)
            delta = (0.1 * torch.randn(shape)).requires_grad_()
            if layout is Layout.NCHW:
                h = h.contiguous(memory_format=torch.channels_last)
            grad = torch.randn_like(h)
            times: dict[str, list[float]] = {name: [] for name in ways(layout)}
            for _ in range(rounds):
                for name, way in ways(layout).items():
                    began = process_time()
                    way(h, delta, alpha).backward(grad)
                    times[name].append(1e6 * (process_time() - began))
                    delta.grad = None
            for name, spent in times.items():
                low, middle, high = quantiles(spent, n=4)
                print(f"{layout:5} {shape!s:20} {name:28} {middle:7.0f}  ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    main()
