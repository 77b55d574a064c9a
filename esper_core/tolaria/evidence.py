"""From measurements to evidence: what is asked of validation data for each seed, and what the answers say."""

from array import array
from collections.abc import Iterable, Mapping
from math import isfinite

from attrs import evolve, frozen

from esper_core.kasmina.growth import Growth
from esper_core.leyline.evidence import EpochMetrics, FloatArray, SeedEvidence, paired_difference
from esper_core.leyline.protocols import Criterion, Split
from esper_core.leyline.stages import Stage
from esper_core.tolaria.data import Samples
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.measuring import Measured, Setting, measure
from esper_core.tolaria.training import GradientEvidence


@frozen(kw_only=True)
class CollectedEvidence:
    """What one epoch's validation gave.

    Attributes:
        metrics: of the network as it stands.
        seeds: the complete evidence of every seed, in site order.
        blocks, passes: how often the network was computed for each batch; see `Measured`. None: nothing was measured.
    """

    metrics: EpochMetrics
    seeds: tuple[SeedEvidence, ...]
    blocks: Mapping[str, int] | None = None
    passes: int = 0


def collect_evidence(
    growth: Growth,
    criterion: Criterion,
    split: Split | Samples,
    forks: ForkMap,
    *,
    epoch: int,
    fossils: bool,
    gradients: Mapping[str, GradientEvidence],
    twin_losses: FloatArray | None,
    batch_size: int | None = None,
) -> CollectedEvidence:
    """Measure the network and all that is needed to judge its seeds, after `epoch` was trained.

    Args:
        growth: the seeds.
        criterion: loss and metric of a sample.
        split: validation data.
        forks: where the host's batch may grow.
        epoch: the epoch that is over.
        fossils: measure fossilized seeds too; nothing depends on it but reports.
        gradients: of each slot's seed during the epoch.
        twin_losses: the twin's losses on the same samples.
        batch_size: samples per batch; see `measure`.
    """
    known = growth.evidence(epoch)
    asked = dict(_questions(known, growth.config.probe_alpha, fossils=fossils))
    measured = measure(growth.slot_set, criterion, split, [*asked.values()], batch_size=batch_size, forks=forks)
    answers = dict(zip(asked, measured.losses, strict=True))
    seeds = tuple(
        _complete(seed, growth, measured, answers.get(seed.slot), gradients.get(seed.slot), twin_losses)
        for seed in known
    )
    return CollectedEvidence(metrics=measured.metrics, seeds=seeds, blocks=measured.blocks, passes=measured.passes)


def _questions(known: Iterable[SeedEvidence], probe_alpha: float, *, fossils: bool) -> Iterable[tuple[str, Setting]]:
    """What else to measure for a seed: a trial at a small alpha, or the network without it."""
    for seed in known:
        if seed.stage is Stage.TRAINING:
            yield seed.slot, {seed.slot: probe_alpha}
        elif seed.stage in (Stage.BLENDING, Stage.PROBATIONARY) or (fossils and seed.stage is Stage.FOSSILIZED):
            yield seed.slot, {seed.slot: 0.0}


def _complete(
    seed: SeedEvidence,
    growth: Growth,
    measured: Measured,
    other: "array[float] | None",
    gradients: GradientEvidence | None,
    twin_losses: FloatArray | None,
) -> SeedEvidence:
    own = measured.metrics.sample_losses
    assert own is not None
    ratio = measured.update_ratios.get(seed.slot)
    parameters = growth.slot_set.seed_parameters(seed.slot)
    trial = seed.stage is Stage.TRAINING
    return evolve(
        seed,
        gradient_ratio=gradients.ratio if gradients is not None else None,
        gradient_norm=gradients.norm if gradients is not None else None,
        host_frozen=not any(p.requires_grad for p in growth.slot_set.host_parameters),
        gradients_finite=gradients.finite if gradients is not None else None,
        isolated=gradients.isolated if gradients is not None else None,
        update_ratio=ratio,
        bounded=measured.bounded.get(seed.slot) if seed.stage.live else None,
        finite=all(bool(p.isfinite().all()) for p in parameters) and (ratio is None or isfinite(ratio)),
        probe=paired_difference(own, other) if other is not None and trial else None,
        contribution=paired_difference(other, own) if other is not None and not trial else None,
        host_gain=paired_difference(twin_losses, own) if twin_losses is not None else None,
    )
