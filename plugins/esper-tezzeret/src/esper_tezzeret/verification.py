"""What is demanded of a compiled seed before its artifact counts: parity with eager, and that it is not slow."""

import statistics
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from attrs import field, frozen, validators
from torch import Tensor, nn

from esper_core.leyline.errors import EsperError

#: Batches on which both are compared: that of the example, another one, and a single sample.
BATCHES = (2, 3, 1)

#: The batch of the steps whose cost is compared. In smaller ones a seed's cost is that of calling it.
LATENCY_BATCH = 32


@frozen(kw_only=True)
class Limits:
    """What a compiled seed is held to.

    Attributes:
        tolerance: the largest difference from eager, relative to the largest number of the tensor; None: the square
            root of the dtype's precision, 3.5e-4 for float32.
        slower_at_most: how many times as much of the processor's time as eager a step may take, beside `overhead_ms`.
        overhead_ms: milliseconds of it that a step may cost beside that, whatever the seed: what it costs to enter a
            program is as much as the smallest seeds compute.
        steps: how many steps of each are measured; they alternate, and their medians are compared.
    """

    tolerance: float | None = field(default=None, validator=validators.optional(validators.gt(0)))
    slower_at_most: float = field(default=1.5, validator=validators.gt(0))
    overhead_ms: float = field(default=1.0, validator=validators.ge(0))
    steps: int = field(default=20, validator=validators.ge(3))


#: What the forge holds artifacts to unless it is told otherwise.
LIMITS = Limits()


def verify(
    loaded: nn.Module, eager: nn.Module, example: Tensor, *, trains: bool, limits: Limits = LIMITS
) -> Mapping[str, float]:
    """Compare a compiled seed with the eager one, and return what was measured.

    The two are compared with other values than those that were compiled, so that nothing of these is baked in.

    Args:
        loaded: what the compiler has loaded.
        eager: a seed as its blueprint builds it; a copy of it is used.
        example: an activation.
        trains: compare gradients and what training leaves in buffers too.
        limits: what it is held to.

    Returns:
        ``worst_difference`` (relative), and ``inference_ms``, ``eager_inference_ms``, and if it trains ``training_ms``
        and ``eager_training_ms``: medians of one step at `LATENCY_BATCH`, in milliseconds of the processor's time. By
        a clock on the wall a step may take a hundred times as long where others want the processor.

    Raises:
        EsperError: E627 for the first thing that differs.
    """
    eager = deepcopy(eager)
    _require_covering(loaded, eager)
    awaken(eager)
    loaded.load_state_dict(eager.state_dict())
    tolerance = limits.tolerance or torch.finfo(example.dtype).eps ** 0.5
    worst = 0.0
    for training in (True, False) if trains else (False,):
        for batch in BATCHES:
            worst = max(worst, _compare(loaded, eager, example, batch, training=training, tolerance=tolerance))
    found = {"worst_difference": worst, **_latencies(loaded, eager, example, trains=False, limits=limits)}
    return found | (_latencies(loaded, eager, example, trains=True, limits=limits) if trains else {})


def awaken(module: nn.Module) -> None:
    """Move every parameter and every floating buffer off its value at birth, by the same numbers each time."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=0.3)
        for buffer in module.buffers():
            if buffer.is_floating_point():
                # Upwards: it may be a variance.
                buffer.add_(torch.rand(buffer.shape, generator=generator).to(buffer), alpha=0.3)


def _require_covering(loaded: nn.Module, eager: nn.Module) -> None:
    wanted, found = _signature(eager), _signature(loaded)
    if missing := [name for name in wanted if name not in found]:
        raise _differs(f"its constants do not cover the state dict: {', '.join(missing[:3])} cannot be set")
    if odd := [name for name in found if wanted.get(name) != found[name]]:
        raise _differs(f'"{odd[0]}" is not in the seed\'s state dict, or of another shape, dtype or need of gradients')


def _signature(module: nn.Module) -> dict[str, tuple[Any, ...]]:
    learning = {name for name, it in module.named_parameters(remove_duplicate=False) if it.requires_grad}
    return {name: (it.shape, it.dtype, name in learning) for name, it in module.state_dict().items()}


def _compare(
    loaded: nn.Module, eager: nn.Module, example: Tensor, batch: int, *, training: bool, tolerance: float
) -> float:
    h = torch.randn((batch, *example.shape[1:]), generator=torch.Generator().manual_seed(batch)).to(example)
    if training and batch == 1 and _raises(deepcopy(eager), h):
        # Normalisation over a batch of one value is refused by torch itself.
        return 0.0
    before = {name: tensor.clone() for name, tensor in eager.state_dict().items()}
    one, other = (_results(module, h, training=training) for module in (eager, loaded))
    worst = 0.0
    for name, value in one.items():
        difference = _difference(value, other[name])
        if not difference <= tolerance:
            mode = "training" if training else "evaluation"
            raise _differs(f"{name} differs by {difference:.2g} in {mode} at batch {batch}, allowed is {tolerance:.2g}")
        worst = max(worst, difference)
    for module in (loaded, eager):
        module.load_state_dict(before)
    return worst


def _raises(module: nn.Module, h: Tensor) -> bool:
    try:
        module.train()(h)
    except ValueError:
        return True
    return False


def _results(module: nn.Module, h: Tensor, *, training: bool) -> dict[str, Tensor | None]:
    """Return the update, and in training also gradients, and the state that it leaves."""
    module.train(training)
    h = h.clone().requires_grad_(training)
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(training):
        torch.manual_seed(0)
        delta = module(h)
    found: dict[str, Tensor | None] = {"the update": delta.detach()}
    if training:
        module.zero_grad(set_to_none=True)
        if delta.requires_grad:
            delta.backward(torch.randn(delta.shape, generator=torch.Generator().manual_seed(1)).to(delta))
        found["the gradient of the activation"] = h.grad
        found |= {f"the gradient of {name}": it.grad for name, it in module.named_parameters() if it.requires_grad}
    return found | {f"{name} after it": value.clone() for name, value in module.state_dict().items()}


def _difference(one: Tensor | None, other: Tensor | None) -> float:
    """Return the largest difference relative to the largest number of `one`; infinite for what cannot be compared."""
    if one is None or other is None:
        # A program may say that a gradient is zero where there is none.
        present = one if other is None else other
        return 0.0 if present is None or not bool(present.any()) else float("inf")
    if one.shape != other.shape or one.dtype != other.dtype or not bool(one.isfinite().all()):
        return float("inf")
    if one.numel() == 0 or torch.equal(one, other):
        return 0.0
    largest = (one.double() - other.double()).abs().max() / one.double().abs().max().clamp_min(1e-30)
    # NaN is larger than any tolerance, but compares with nothing.
    return float(largest.nan_to_num(nan=float("inf")))


def _latencies(
    loaded: nn.Module, eager: nn.Module, example: Tensor, *, trains: bool, limits: Limits
) -> dict[str, float]:
    h = torch.randn((LATENCY_BATCH, *example.shape[1:]), generator=torch.Generator().manual_seed(0)).to(example)
    steps = [_step(module, h, trains=trains) for module in (eager, loaded)]
    times: list[list[float]] = [[], []]
    for number in range(limits.steps + 3):
        for step, taken in zip(steps, times, strict=True):
            begun = time.process_time()
            step()
            if number >= 3:
                taken.append(1e3 * (time.process_time() - begun))
    ours, theirs = statistics.median(times[1]), statistics.median(times[0])
    name = "training" if trains else "inference"
    if ours > limits.slower_at_most * theirs + limits.overhead_ms:
        raise _differs(
            f"a step of {name} takes {ours:.3g} ms of the processor, and {theirs:.3g} ms in eager: more than "
            f"{limits.slower_at_most:g} times as much and {limits.overhead_ms:g} ms"
        )
    return {f"{name}_ms": ours, f"eager_{name}_ms": theirs}


def _step(module: nn.Module, example: Tensor, *, trains: bool) -> Callable[[], None]:
    module.train(trains)

    def step() -> None:
        with torch.set_grad_enabled(trains):
            module.zero_grad(set_to_none=True)
            delta = module(example.clone().requires_grad_(trains))
            if delta.requires_grad:
                delta.sum().backward()

    return step


def _differs(why: str) -> EsperError:
    fix = "use another compiler (--preset emergency is eager), and report it to the author of this one"
    return EsperError("E627", "a compiled seed is not what its blueprint computes", why=why, fix=fix)
