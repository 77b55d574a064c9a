"""One evidence from that of all processes, each of which has measured its own samples."""

from collections.abc import Callable, Sequence
from math import isinf, sqrt
from typing import Any

from attrs import evolve

from esper_core.leyline.evidence import EpochMetrics, Evidence, PairedDifference, SeedEvidence


def merged(found: Sequence[Evidence]) -> Evidence:
    """Return the evidence on the samples of all processes together.

    Where all of them have measured the same samples, that is the first one's: counting them several times would make
    every standard error too small. Training losses and accuracies are means over processes.

    Args:
        found: of each process, in the order of their ranks; of the same epoch and topology.
    """
    first = found[0]
    train = evolve(
        first.train,
        loss=_mean([it.train.loss for it in found]),
        accuracy=_mean([it.train.accuracy for it in found]),
        samples=sum(it.train.samples for it in found),
    )
    if _same_samples(found):
        return evolve(first, train=evolve(train, samples=first.train.samples))
    counts = [it.validation.samples for it in found]
    columns = zip(*(it.seeds for it in found), strict=True)
    seeds = tuple(_merged_seed(column, counts) for column in columns)
    return evolve(first, train=train, validation=merged_metrics([it.validation for it in found]), seeds=seeds)


def merged_metrics(found: Sequence[EpochMetrics]) -> EpochMetrics:
    """Return the metrics on the samples of all processes together; losses of samples stand in the order of ranks."""
    counts, first = [it.samples for it in found], found[0]
    losses = [it.sample_losses for it in found]
    joined = None
    if first.sample_losses is not None and None not in losses:
        joined = first.sample_losses[:0]
        for column in losses:
            joined = joined + column  # type: ignore[operator]
    return EpochMetrics(
        loss=_weighted([it.loss for it in found], counts),
        accuracy=_weighted([it.accuracy for it in found], counts),
        samples=sum(counts),
        seconds=max(it.seconds for it in found),
        sample_losses=joined,
    )


def merged_difference(found: Sequence[PairedDifference]) -> PairedDifference:
    """Return the paired difference on all samples: sums of squares within and between (Chan et al., 1979)."""
    count = sum(it.count for it in found)
    mean = _weighted([it.mean for it in found], [it.count for it in found])
    if count < 2:
        return PairedDifference(mean=mean, standard_error=float("inf"), count=count)
    within = sum(0.0 if isinf(it.standard_error) else it.standard_error**2 * it.count * (it.count - 1) for it in found)
    between = sum(it.count * (it.mean - mean) ** 2 for it in found)
    error = sqrt((within + between) / (count - 1) / count)
    return PairedDifference(mean=mean, standard_error=error, count=count)


def _merged_seed(found: Sequence[SeedEvidence], counts: Sequence[int]) -> SeedEvidence:
    """Gradients are reduced before they are looked at: of these the first one's stand for all.

    The ratio of update to activation is a mean over processes by samples, in squares: it is that of all samples where
    activations are as large in one share as in another.
    """

    def differences(name: str) -> PairedDifference | None:
        joined: PairedDifference | None = _unless_missing(merged_difference, [getattr(it, name) for it in found])
        return joined

    return evolve(
        found[0],
        source_error=next((it.source_error for it in found if it.source_error), found[0].source_error),
        probe_error=next((it.probe_error for it in found if it.probe_error), found[0].probe_error),
        ready=all(it.ready for it in found),
        gradients_finite=_unless_missing(all, [it.gradients_finite for it in found]),
        isolated=_unless_missing(all, [it.isolated for it in found]),
        update_ratio=_unless_missing(
            lambda ratios: sqrt(_weighted([ratio**2 for ratio in ratios], counts)), [it.update_ratio for it in found]
        ),
        bounded=_unless_missing(lambda shares: _weighted(shares, counts), [it.bounded for it in found]),
        finite=_unless_missing(all, [it.finite for it in found]),
        probe=differences("probe"),
        contribution=differences("contribution"),
        host_gain=differences("host_gain"),
    )


def _unless_missing(join: Callable[[Any], Any], values: Sequence[Any]) -> Any:
    """Absence is not health: what one process does not know is not known."""
    return None if None in values else join(values)


def _same_samples(found: Sequence[Evidence]) -> bool:
    losses = [it.validation.sample_losses for it in found]
    return all(one is None for one in losses) or (None not in losses and all(one == losses[0] for one in losses))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _weighted(values: Sequence[float], weights: Sequence[int]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
