"""What a blueprint's seeds cost on this machine, at given shapes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from torch import nn

from esper_app_catalogue.surroundings import circumstances
from esper_core.adapting import forward_flops, parameter_count
from esper_core.api import EsperError, Layout, Site
from esper_karn.api import Benchmark, CatalogueEntry, Profile, Quantiles
from esper_testing.blueprint_subject import BlueprintSubject

#: Passes before those that are measured.
WARM_UP = 5

#: What is measured where no shape is given, the batch first: images, sequences, vectors.
SHAPES: dict[Layout, tuple[int, ...]] = {
    Layout.NCHW: (32, 16, 16, 16),
    Layout.BTD: (32, 32, 64),
    Layout.BD: (64, 64),
}

_LAYOUTS = {len(shape): layout for layout, shape in SHAPES.items()}


def benchmark(
    entry: CatalogueEntry,
    options: Any,
    *,
    shapes: Sequence[tuple[int, ...]] = (),
    repetitions: int = 30,
    threads: int = 1,
) -> Benchmark:
    """Measure forward and backward passes of seeds as if they had been trained, on the CPU in float32.

    Args:
        entry: the blueprint's.
        options: its options, None if it has none.
        shapes: of activations, the batch first; default: `SHAPES` of each layout that it fits.
        repetitions: passes that are measured at each shape, after five that warm up.
        threads: with which torch computes.

    Raises:
        EsperError: E161 if it cannot run here, E404 for a shape that it does not fit.
    """
    require_runnable(entry)
    subject = BlueprintSubject(spec=entry.spec, config=options)
    shapes = shapes or [SHAPES[layout] for layout in sorted(entry.spec.layouts)]
    with _threads(threads):
        profiles = tuple(_profile(subject, entry, shape, repetitions) for shape in shapes)
        return Benchmark(circumstances=circumstances(entry, options, threads=threads), profiles=profiles)


def require_runnable(entry: CatalogueEntry) -> None:
    """Refuse a blueprint that cannot run on this machine. Raises EsperError E161."""
    if (why := entry.spec.unavailable) is not None:
        fix = entry.spec.install_hint or "try it on a machine that it can run on"
        raise EsperError("E161", f'blueprint "{entry.spec.name}" cannot run here', why=why, fix=fix)


def _profile(subject: BlueprintSubject, entry: CatalogueEntry, shape: tuple[int, ...], repetitions: int) -> Profile:
    layout = _LAYOUTS.get(len(shape))
    if layout not in entry.spec.layouts or min(shape) < 1:
        fits = " or ".join(f"{it} ({'x'.join(map(str, SHAPES[it]))})" for it in sorted(entry.spec.layouts))
        what = f'blueprint "{entry.spec.name}" does not fit the shape {"x".join(map(str, shape))}'
        raise EsperError("E404", what, where="--shape", fix=f"give the batch first, and then the shape for {fits}")
    assert layout is not None
    width = shape[1] if layout is Layout.NCHW else shape[-1]
    site = Site(id="measured", path="measured", layout=layout, width=width, sample_shape=shape[1:])
    module, h = subject.awake(site), subject.activation(site, batch=shape[0])
    forward, backward = _passes(module, h, repetitions)
    return Profile(
        shape=shape,
        forward=_quantiles(forward),
        backward=_quantiles(backward),
        samples_per_second=shape[0] / (float(np.median(forward) + np.median(backward)) / 1e9),
        parameters=parameter_count(module),
        forward_flops=forward_flops(module, h[0]),
        repetitions=repetitions,
    )


def _passes(module: nn.Module, h: torch.Tensor, repetitions: int) -> tuple[list[int], list[int]]:
    """Return nanoseconds of forward and of backward passes. What has no gradient still has one for h."""
    forward, backward = [], []
    gradient = torch.ones_like(h)
    for _ in range(WARM_UP + repetitions):
        module.zero_grad(set_to_none=True)
        seen = h.detach().requires_grad_()
        begun = perf_counter_ns()
        delta = module(seen)
        between = perf_counter_ns()
        if delta.requires_grad:
            delta.backward(gradient)
        forward.append(between - begun)
        backward.append(perf_counter_ns() - between)
    return forward[WARM_UP:], backward[WARM_UP:]


def _quantiles(nanoseconds: Sequence[int]) -> Quantiles:
    p50, p95 = np.percentile(nanoseconds, (50, 95)) / 1e6
    return Quantiles(p50_ms=float(p50), p95_ms=float(p95))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
