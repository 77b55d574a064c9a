"""Every metric of the sink, in one table: what it is called, its type and labels, and from which event it comes.

The numbers that `esper_runs.metrics` finds in events have the same name, with underscores and the unit behind:
``validation/loss`` is ``esper_validation_loss_nats``. They are gauges; sums over the run so far are
counters. Everything else is counted here.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

from attrs import frozen

from esper_core.api import EventKind
from esper_runs.metrics import METRICS, Metric


class MetricType(StrEnum):
    """The types of Prometheus's metrics that are used."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@frozen(kw_only=True)
class Exported:
    """A metric as Prometheus sees it.

    Attributes:
        name: its name; of a counter with ``_total``.
        type: its type.
        meaning: what it is, in words.
        labels: names of its labels.
        source: the kinds of events that it comes from; "" for the sink itself.
        buckets: upper bounds of a histogram's buckets.
    """

    name: str
    type: MetricType
    meaning: str
    labels: tuple[str, ...]
    source: str
    buckets: tuple[float, ...] = ()


_UNITS = {"nats": "nats", "s": "seconds", "share": "ratio", "FLOP": "flops"}
_SOURCES = {
    "reward": EventKind.REWARD_COMPUTED,
    "diagnostics": EventKind.DIAGNOSED,
    "rounds": EventKind.ROUND_FINISHED,
    "test": EventKind.RUN_FINISHED,
    "total": EventKind.RUN_FINISHED,
}


def exported_name(metric: Metric) -> str:
    """Return what a metric of `esper_runs.metrics` is called here."""
    parts = [part for part in metric.name.split("/") if not part.startswith("{")]
    # The suffix means a counter.
    name, unit = "_".join(["esper", *parts]).removesuffix("_total"), _UNITS.get(metric.unit, "")
    name = name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}"
    return f"{name}_total" if _grows(metric) else name


def _grows(metric: Metric) -> bool:
    """It is a sum over the run so far."""
    return metric.name.startswith("compute/")


def _of_numbers() -> Iterator[Exported]:
    for metric in METRICS.values():
        source = _SOURCES.get(metric.name.partition("/")[0], EventKind.EPOCH_COMPLETED)
        yield Exported(
            name=exported_name(metric),
            type=MetricType.COUNTER if _grows(metric) else MetricType.GAUGE,
            meaning=metric.meaning,
            labels=("run", "host", *re.findall(r"\{(\w+)\}", metric.name)),
            source=source,
        )


_G, _C, _H = MetricType.GAUGE, MetricType.COUNTER, MetricType.HISTOGRAM
_RUN, _HOST = ("run",), ("run", "host")
_EPOCH, _DECIDED = EventKind.EPOCH_COMPLETED, EventKind.ACTION_DECIDED
_OPEN, _ANY = "opening", "every kind"
_FINISHED, _MOVED = EventKind.RUN_FINISHED, EventKind.SEED_TRANSITION
_LAGS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)
_SECONDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

_COUNTED = (
    ("esper_run_info", _G, "1; its labels say what is run", ("run", "task", "seed"), _OPEN),
    ("esper_run_active", _G, "1 while the run goes on, 0 behind its end", _RUN, f"{_OPEN}, {_FINISHED}"),
    ("esper_run_outcome", _G, "1 for how the run ended", ("run", "outcome"), f"{_FINISHED}, closing"),
    ("esper_run_epochs_planned", _G, "epochs of a round", _RUN, _OPEN),
    ("esper_run_opened_timestamp_seconds", _G, "when the run began or went on, since 1970", _RUN, _OPEN),
    ("esper_last_event_timestamp_seconds", _G, "when the last event happened, since 1970", _RUN, _ANY),
    ("esper_events_total", _C, "events", ("run", "kind"), _ANY),
    ("esper_epochs_total", _C, "epochs completed", _HOST, _EPOCH),
    ("esper_epochs_slow_total", _C, "epochs whose training took twice the median of the 20 before", _HOST, _EPOCH),
    ("esper_epochs_compared_total", _C, "epochs in which the twin's losses were compared", _HOST, _EPOCH),
    (
        "esper_epochs_behind_total",
        _C,
        "of those, the network was worse, with 95 % confidence",
        _HOST,
        _EPOCH,
    ),
    ("esper_epoch", _G, "the last epoch, from 0; those of earlier rounds count", _HOST, _EPOCH),
    ("esper_losses_total", _C, "mean losses over a split, finite or not", ("run", "host", "finite"), _EPOCH),
    ("esper_stage_seeds", _G, "seeds by stage", ("run", "host", "stage"), _EPOCH),
    ("esper_seeds_contributing", _G, "seeds whose fate is open and that are a part of the network", _HOST, _EPOCH),
    ("esper_seeds_measured", _G, "of those, the contribution was measured", _HOST, _EPOCH),
    ("esper_isolation_violations_total", _C, "seeds found to change the host while they were isolated", _HOST, _EPOCH),
    ("esper_gate_verdicts_total", _C, "verdicts of gates", ("run", "host", "gate", "passed"), _EPOCH),
    ("esper_actions_total", _C, "decisions", ("run", "host", "op"), _DECIDED),
    ("esper_actions_denied_total", _C, "decisions that the governor denied", _HOST, EventKind.ACTION_DENIED),
    (
        "esper_seed_transitions_total",
        _C,
        "seeds that entered a stage",
        ("run", "host", "target"),
        EventKind.SEED_TRANSITION,
    ),
    ("esper_seeds_culled_total", _C, "seeds culled, by cause", ("run", "host", "cause"), _MOVED),
    (
        "esper_seeds_finished_total",
        _C,
        "seeds by how they ended",
        ("run", "host", "blueprint", "stage"),
        EventKind.SEED_FINISHED,
    ),
    (
        "esper_governor_mode",
        _G,
        "0: normal, 1: conservative, 2: stopped",
        _HOST,
        f"{_EPOCH}, {EventKind.GOVERNOR_INTERVENED}",
    ),
    (
        "esper_governor_interventions_total",
        _C,
        "changes of the governor's mode",
        _HOST,
        EventKind.GOVERNOR_INTERVENED,
    ),
    ("esper_plugin_failures_total", _C, "failures reported", ("run", "place"), EventKind.PLUGIN_FAILED),
    ("esper_rounds_total", _C, "rounds finished", _RUN, EventKind.ROUND_FINISHED),
    ("esper_series_refused_total", _C, "values left out because their metric has too many series", _RUN, ""),
    ("esper_exports_total", _C, "files written and pushes made", ("run", "destination"), ""),
    ("esper_exports_failed_total", _C, "of those, the ones that failed", ("run", "destination"), ""),
)
_HISTOGRAMS = (
    ("esper_event_lag_seconds", "from an event until the sink had it", _RUN, _ANY, _LAGS),
    ("esper_epoch_train_seconds", "wall time of an epoch's training", _HOST, _EPOCH, _SECONDS),
)


def _table() -> Iterator[Exported]:
    yield from _of_numbers()
    for name, kind, meaning, labels, source in _COUNTED:
        yield Exported(name=name, type=kind, meaning=meaning, labels=labels, source=source)
    for name, meaning, labels, source, buckets in _HISTOGRAMS:
        yield Exported(name=name, type=_H, meaning=meaning, labels=labels, source=source, buckets=buckets)


#: Every metric by its name.
CATALOGUE: Mapping[str, Exported] = {it.name: it for it in _table()}


def markdown_table() -> str:
    """Return the table of all metrics in Markdown."""
    rows = (
        f"| `{it.name}` | {it.type} | {', '.join(it.labels)} | {_sources(it.source)} | {it.meaning} |"
        for it in CATALOGUE.values()
    )
    return "\n".join(["| metric | type | labels | from | meaning |", "|---|---|---|---|---|", *rows])


def _sources(source: str) -> str:
    return ", ".join(f"`{it}`" if it in set(EventKind) else it for it in source.split(", ")) if source else "the sink"
