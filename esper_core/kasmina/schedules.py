"""The curves of alpha and of learning rates: pure functions of time. Imports no torch."""

from collections.abc import Callable, Mapping
from math import cos, isnan, pi, tanh

from esper_core.leyline.stages import Blend

#: How steep the logistic curve is: its argument runs from -6 to 6.
SIGMOID_STEEPNESS = 12.0


def alpha_at(blend: Blend, progress: float) -> float:
    """Return alpha at `progress` along its ramp.

    Every curve is monotone, is 0.0 at 0.0 or before and 1.0 at 1.0 or after, exactly, and is symmetrical about
    (1/2, 1/2). The sigmoid is the logistic function, shifted and scaled so that it meets its ends.

    Args:
        blend: the curve.
        progress: share of the ramp that is done.

    Raises:
        ValueError: if `progress` is NaN.
    """
    if isnan(progress):
        raise ValueError("the progress of a ramp must be a number, not NaN")
    if progress <= 0.0:
        return 0.0
    if progress >= 1.0:
        return 1.0
    return min(1.0, max(0.0, _CURVES[blend](progress)))


def warmup_cosine(step: float, total_steps: float, warmup_steps: float = 0) -> float:
    """Return the factor on the learning rate at `step`: a linear warm-up, then a half cosine down to zero.

    The first step has the factor 1 / (warmup_steps + 1), never zero; the factor is 1 at `warmup_steps` and 0.0 from
    `total_steps` on (Loshchilov and Hutter 2017, SGDR, equation 5 with one cycle). Any unit of time will do, if all
    three have the same.

    Raises:
        ValueError: if one of the three is negative.
    """
    if min(step, total_steps, warmup_steps) < 0:
        raise ValueError(f"no step of a schedule: {step} of {total_steps}, warm-up {warmup_steps}")
    if step >= total_steps:
        return 0.0
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return 0.5 * (1.0 + cos(pi * (step - warmup_steps) / (total_steps - warmup_steps)))


def decay_tail(step: float, total_steps: float, share: float) -> float:
    """Return the factor on the learning rate of a schedule that is constant, and falls to 0 at its end.

    It is 1 until the last `share` of the steps, 0 to 1, and then falls in a straight line; 0.0 from `total_steps` on.
    """
    return min(1.0, max(0.0, (total_steps - step) / (share * total_steps)))


def restarted_cosine(step: float, germinated_step: float, total_steps: float) -> float:
    """Return the factor on a seed's learning rate: a half cosine from 1 at its germination to 0 at the run's end.

    A seed that followed the host's schedule would be left with what the host has left: late seeds would hardly move.

    Args:
        step: now, in steps or epochs of the run.
        germinated_step: when the seed germinated, in the same unit.
        total_steps: length of the run.

    Raises:
        ValueError: if `step` lies before the germination.
    """
    return warmup_cosine(step - germinated_step, max(0.0, total_steps - germinated_step))


def _linear(progress: float) -> float:
    return progress


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 - cos(pi * progress))


def _sigmoid(progress: float) -> float:
    # logistic(x) = (1 + tanh(x / 2)) / 2; dividing by the tanh at the end is the normalisation.
    half = SIGMOID_STEEPNESS / 2
    return 0.5 * (1.0 + tanh(half * (progress - 0.5)) / tanh(half / 2))


_CURVES: Mapping[Blend, Callable[[float], float]] = {
    Blend.LINEAR: _linear,
    Blend.COSINE: _cosine,
    Blend.SIGMOID: _sigmoid,
    Blend.GATED: _linear,
}
