"""The result of a run: the grown network beside its twin."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from esper_core.leyline.reports import FinalReport

#: The host that grows, its twin of equal epochs, and the control of equal compute. Where there are several of each they
#: are numbered: ``twin-1``. Neither the twin nor the control ever grows.
GROWN, TWIN, CONTROL = "grown", "twin", "control"

#: The outcome of a run without a result: it is still going on, or it was killed.
UNFINISHED = "unfinished"

#: The index that stands where nothing is to be predicted.
_NOTHING_ASKED = -100


class RunEnd(StrEnum):
    """How a run ended: as planned, because somebody asked it to, or because the governor stopped every host."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"


def run_result(
    task: str,
    finals: Sequence["FinalReport"],
    twins: Sequence["FinalReport"],
    end: RunEnd,
    *,
    controls: Mapping[str, "FinalReport"] | None = None,
    share_of: Mapping[str, Any] | None = None,
    units: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the result as plain data, as ``result.json`` and the last event hold it.

    ``twins`` says which host is whose twin, and ``differences`` how each grown host differs from its own;
    ``difference`` is that of the one grown host, None where there are several or no twin. ``test_gain`` is the twin's
    loss minus the grown network's on the same test samples, with its standard error. ``controls``,
    ``compute_difference`` and ``compute_differences`` say the same of the controls of equal compute. ``spent_flops`` is
    what all hosts have spent; each host's own, and its parts, are its ``compute``. ``test_share_of`` is what the test
    accuracy is a share of; see `answers_asked`. ``test_measure`` is the name of what ``test_in_units`` of a host is,
    the error of a regression in units of its targets; see `in_units`.

    Args:
        task: what was learned.
        finals: the final report of every grown host.
        twins: of their twins, in the same order; none without twins.
        end: how the run ended.
        controls: of the controls of equal compute, by the grown host.
        share_of: what the test accuracy is a share of.
        units: of a regression's targets; see `in_units`.
    """
    # Imported here: lists and screens read results that others have made, and must be quick.
    from esper_core.leyline.figures import host_figures
    from esper_core.leyline.records import plain

    beside = controls or {}
    reports = [*finals, *twins, *beside.values()]
    pairs = [*zip(finals, twins, strict=True)] if twins else []
    hosts = {report.host: host_figures(report) for report in reports}
    for figures in hosts.values() if units else ():
        figures["test_in_units"] = in_units(figures["test_loss"], units)
    differences = {grown.host: _difference(hosts, grown, twin) for grown, twin in pairs}
    at_equal_compute = {it.host: _difference(hosts, it, beside[it.host]) for it in finals if it.host in beside}
    spent = [report.compute.total for report in reports]
    return {
        "task": task,
        "outcome": end.value,
        "test_share_of": dict(share_of) if share_of is not None else None,
        "test_measure": units["measure"] if units else None,
        "hosts": hosts,
        "twins": {grown.host: twin.host for grown, twin in pairs},
        "difference": differences.get(finals[0].host) if len(finals) == 1 else None,
        "differences": differences,
        "controls": {grown: control.host for grown, control in beside.items()},
        "compute_difference": at_equal_compute.get(finals[0].host) if len(finals) == 1 else None,
        "compute_differences": at_equal_compute,
        "spent_flops": None if None in spent else sum(it or 0 for it in spent),
        "seeds": [{"host": report.host, **plain(seed)} for report in reports for seed in report.seeds],
    }


def is_twin(host: str) -> bool:
    """Say whether a host never grows, by its name: a twin, or a control."""
    return host in (TWIN, CONTROL) or host.startswith((f"{TWIN}-", f"{CONTROL}-"))


def is_control(host: str) -> bool:
    """Say whether a host is a control of equal compute, by its name."""
    return host == CONTROL or host.startswith(f"{CONTROL}-")


def twin_of(host: str) -> str:
    """Return the name of a host's twin."""
    return host.replace(GROWN, TWIN, 1) if host.startswith(f"{GROWN}-") else TWIN


def control_of(host: str) -> str:
    """Return the name of a host's control of equal compute."""
    return host.replace(GROWN, CONTROL, 1) if host.startswith(f"{GROWN}-") else CONTROL


def pair_results(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the result of each grown host, its twin and its control alone, as if the run had had no others."""
    hosts: Mapping[str, Any] = result.get("hosts") or {}
    grown = [name for name in hosts if not is_twin(name)]
    if len(grown) < 2:
        return dict.fromkeys(grown, result)
    twins, differences = result.get("twins") or {}, result.get("differences") or {}
    controls, at_equal_compute = result.get("controls") or {}, result.get("compute_differences") or {}
    pairs: dict[str, Mapping[str, Any]] = {}
    for name in grown:
        alone = {name: hosts[name]} | ({TWIN: hosts[twins[name]]} if twins.get(name) in hosts else {})
        alone |= {CONTROL: hosts[controls[name]]} if controls.get(name) in hosts else {}
        seeds = result.get("seeds")
        own = None if seeds is None else [seed for seed in seeds if seed["host"] == name]
        found = {"difference": differences.get(name), "compute_difference": at_equal_compute.get(name)}
        pairs[name] = {**result, "hosts": alone, **found, "seeds": own}
    return pairs


def answers_asked(targets: "Tensor") -> dict[str, Any] | None:
    """Return what an accuracy on these targets is a share of: a number of samples, or of positions in sequences.

    None where it is not a share of anything that can be counted: targets that are not classes, or sequences with
    different numbers of positions, of which each counts as much as any other.

    Args:
        targets: (N,) class indices, or (N, T) token indices with -100 where nothing is to be predicted.
    """
    if targets.is_floating_point() or targets.ndim > 2:
        return None
    if targets.ndim == 1:
        return {"unit": "samples", "count": len(targets)}
    counts = (targets != _NOTHING_ASKED).sum(dim=1)
    even = bool((counts == counts[0]).all())
    return {"unit": "positions", "count": int(counts.sum())} if even else None


def in_units(loss: float | None, units: Mapping[str, Any] | None) -> float | None:
    """Return ``deviation * sqrt(2 * loss)``: the root mean squared error on the scale of the targets.

    That holds for the mean of half the squared error in deviations of the targets, as tasks of numbers have it.

    Args:
        loss: in nats; None if there is none.
        units: ``deviation``, that of the targets, and ``measure``, the name of the result; None if a task has none.
    """
    if loss is None or units is None or not loss >= 0:
        return None
    return float(units["deviation"]) * sqrt(2 * loss)


def _difference(hosts: Mapping[str, Mapping[str, Any]], grown: "FinalReport", twin: "FinalReport") -> dict[str, Any]:
    ours, theirs = hosts[grown.host], hosts[twin.host]
    keys = ["test_accuracy", "test_loss", "parameters", "forward_flops", "train_seconds"]
    keys += [key for key in ("test_in_units",) if key in ours]
    difference = {key: None if None in (ours[key], theirs[key]) else ours[key] - theirs[key] for key in keys}
    return difference | {"test_gain": _test_gain(grown, twin)}


def _test_gain(grown: "FinalReport", twin: "FinalReport") -> dict[str, Any] | None:
    if grown.test.sample_losses is None or twin.test.sample_losses is None:
        return None
    from esper_core.leyline.evidence import paired_difference
    from esper_core.leyline.records import plain

    gain: dict[str, Any] = plain(paired_difference(twin.test.sample_losses, grown.test.sample_losses))
    return gain
