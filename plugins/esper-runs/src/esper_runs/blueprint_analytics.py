"""Blueprints over one run or many: how many of their seeds lived, what they contributed, and what they cost."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, sqrt
from statistics import fmean, stdev
from typing import Any

from attrs import frozen

from esper_core.leyline.stages import Stage
from esper_runs.formatting import MISSING, figure, loss, percent, whole
from esper_runs.formatting import as_number as number
from esper_runs.run_record import RunRecord
from esper_runs.tables import Column, Table

#: What the figures of the table mean.
BLUEPRINTS_EXPLAINED = (
    "Survival: fossilized seeds among those that have ended. Contribution: mean over seeds of the loss without the "
    "seed minus the loss with it, in nats, when this was last measured, with the standard error of that mean; it says "
    "how much a network depends on a seed, not what the network has gained. Epochs: mean from germination until the "
    "seed was fossilized or culled. Floating-point operations are recorded of networks, not of seeds."
)

_COLUMNS = (
    Column("blueprint"),
    *(
        Column(title, right=True)
        for title in (
            "runs",
            "germinated",
            "fossilized",
            "culled",
            "live",
            "survival",
            "contribution",
            "seeds measured",
            "parameters",
            "epochs",
        )
    ),
)


@frozen(kw_only=True)
class BlueprintFigures:
    """One blueprint. A figure that nothing is known of is None.

    Attributes:
        blueprint: catalogue name.
        runs: how many runs have germinated it.
        germinated, fossilized, culled, live: how many of its seeds; live ones were on trial when the run ended.
        survival: fossilized ones among those that ended, 0 to 1.
        contribution: mean over `measured` seeds of the ablation's mean, in nats.
        contribution_error: standard error of that mean; None for fewer than two seeds.
        measured: seeds with a finite ablation.
        parameters: mean number of a seed's parameters.
        epochs: mean number of epochs from germination to the end, over seeds that have ended.
    """

    blueprint: str
    runs: int
    germinated: int
    fossilized: int
    culled: int
    live: int
    survival: float | None
    contribution: float | None
    contribution_error: float | None
    measured: int
    parameters: float | None
    epochs: float | None


def blueprint_figures(records: Iterable[RunRecord]) -> tuple[BlueprintFigures, ...]:
    """Return the figures of every blueprint in a catalogue or among the seeds, by name."""
    seeds: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for number_of_run, record in enumerate(records):
        for entry in record.manifest.get("catalogue") or ():
            seeds.setdefault(str(entry["name"]), [])
        for seed in record.seeds:
            seeds.setdefault(str(seed["blueprint"]), []).append((number_of_run, seed))
    return tuple(_figures(name, seeds[name]) for name in sorted(seeds))


def blueprint_table(figures: Iterable[BlueprintFigures]) -> Table:
    """Return a row for each blueprint."""
    return Table(columns=_COLUMNS, rows=tuple(_row(it) for it in figures))


def _figures(name: str, found: Sequence[tuple[int, Mapping[str, Any]]]) -> BlueprintFigures:
    seeds = [seed for _, seed in found]
    stages = [str(seed["final_stage"]) for seed in seeds]
    fossilized, culled = stages.count(Stage.FOSSILIZED.name), stages.count(Stage.CULLED.name)
    ablations = _finite((seed.get("ablation") or {}).get("mean") for seed in seeds)
    lives = [_epochs(seed) for seed in seeds if seed.get("ended_epoch") is not None]
    return BlueprintFigures(
        blueprint=name,
        runs=len({run for run, _ in found}),
        germinated=len(seeds),
        fossilized=fossilized,
        culled=culled,
        live=sum(stage in Stage.__members__ and Stage[stage].live for stage in stages),
        survival=fossilized / (fossilized + culled) if fossilized + culled else None,
        contribution=_mean(ablations),
        contribution_error=stdev(ablations) / sqrt(len(ablations)) if len(ablations) > 1 else None,
        measured=len(ablations),
        parameters=_mean(_finite(seed.get("parameters") for seed in seeds)),
        epochs=_mean(_finite(lives)),
    )


def _epochs(seed: Mapping[str, Any]) -> float | None:
    begun, ended = number(seed.get("germinated_epoch")), number(seed.get("ended_epoch"))
    return None if begun is None or ended is None else ended - begun


def _finite(values: Iterable[Any]) -> list[float]:
    return [value for value in map(number, values) if value is not None and isfinite(value)]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _row(it: BlueprintFigures) -> tuple[str, ...]:
    contribution = MISSING if it.contribution is None else loss(it.contribution, signed=True)
    if it.contribution_error is not None:
        contribution += f" ± {loss(it.contribution_error)}"
    counts = (it.runs, it.germinated, it.fossilized, it.culled, it.live)
    return (
        it.blueprint,
        *map(whole, counts),
        percent(it.survival),
        contribution,
        whole(it.measured),
        whole(it.parameters),
        figure(it.epochs),
    )
