"""What terms read off a step. A figure that was not measured, or is not finite, is None."""

from math import inf, isfinite, log1p

from esper_core.api import Evidence, PairedDifference, Stage, Step


def clamp(value: float, low: float = -1.0, high: float = 1.0) -> float:
    """Return the value within bounds. It must be a number, infinities included."""
    return min(high, max(low, value))


def loss(evidence: Evidence | None) -> float | None:
    """The validation loss in nats."""
    return None if evidence is None else _finite(evidence.validation.loss)


def difference(first: float | None, second: float | None) -> float | None:
    """The first minus the second; None where one is missing, or where the difference is not finite."""
    return None if first is None or second is None else _finite(first - second)


def random_guess_loss(step: Step) -> float | None:
    """The loss of a model that knows nothing, in nats: the scale of the task's losses; None unless it is positive."""
    scale = step.observation.host.random_guess_loss
    return scale if scale is not None and isfinite(scale) and scale > 0.0 else None


def gain(step: Step) -> float | None:
    """The twin's validation loss minus the network's, after the step, in nats: what growing has gained."""
    return difference(loss(step.twin), loss(step.after))


def dependence(step: Step) -> float | None:
    """How much worse the network would be without its seeds, in nats: infinite with a fossil, of which it cannot be.

    The sum of ablations, of seeds that contribute. It overstates what they have gained, because host and seed adapt to
    each other. None without such a seed, and where one of them was not measured.
    """
    seeds = [seed for seed in step.after.seeds if seed.stage.contributes]
    if not seeds:
        return None
    if any(seed.stage is Stage.FOSSILIZED for seed in seeds):
        return inf
    means = [_finite(seed.contribution.mean) if seed.contribution is not None else None for seed in seeds]
    return None if None in means else _finite(sum(mean for mean in means if mean is not None))


def credit(step: Step, dependence: float | None) -> float | None:
    """What may be attributed to seeds, as a share of random guessing's loss: never more than the network has gained.

    Args:
        step: the step.
        dependence: the ablation, in nats. If it is negative and there is no twin, it counts as it is.
    """
    scale, gained = random_guess_loss(step), gain(step)
    if scale is None or dependence is None:
        return None
    if gained is None:
        return min(0.0, dependence) / scale
    return min(gained, dependence) / scale


def growth_ratio(step: Step) -> float:
    """Parameters added by seeds over the host's own."""
    after = step.after
    return max(0.0, (after.parameters - after.host_parameters) / max(1, after.host_parameters))


def compute_ratio(step: Step) -> float | None:
    """Operations of a forward pass that seeds have added, over the twin's; None where they are not known."""
    grown, bare = step.after.forward_flops, None if step.twin is None else step.twin.forward_flops
    if grown is None or not bare or bare < 0:
        return None
    return max(0.0, (grown - bare) / bare)


def log_growth(ratio: float) -> float:
    """``ln(1 + ratio)``: twice the size costs ln 2."""
    return log1p(ratio)


def surely(measured: PairedDifference | None) -> int:
    """The sign of a paired difference with 95 % confidence: 1, -1, or 0 where it may be either or is not known."""
    if measured is None or not measured.finite:
        return 0
    return (measured.lower_bound() > 0.0) - (measured.upper_bound() < 0.0)


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
