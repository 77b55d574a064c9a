"""The result of a run: the grown network beside its twin."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from esper_core.leyline.evidence import paired_difference
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FinalReport


class RunEnd(StrEnum):
    """How a run ended: as planned, because somebody asked it to, or because the governor stopped every host."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"


def run_result(task: str, finals: Sequence[FinalReport], twin: FinalReport | None, end: RunEnd) -> dict[str, Any]:
    """Return the result as plain data, as ``result.json`` and the last event hold it.

    Differences are those of the one grown host to its twin; they are missing where there are several, or no twin.
    ``test_gain`` is the twin's loss minus the grown network's on the same test samples, with its standard error.
    """
    reports = [*finals, *([twin] if twin else [])]
    only = finals[0] if len(finals) == 1 else None
    return {
        "task": task,
        "outcome": end.value,
        "hosts": {report.host: _host(report) for report in reports},
        "difference": _difference(only, twin) if only and twin else None,
        "seeds": [{"host": report.host, **plain(seed)} for report in reports for seed in report.seeds],
    }


def _host(report: FinalReport) -> dict[str, Any]:
    return {
        "epochs": report.epochs,
        "test_accuracy": report.test.accuracy,
        "test_loss": report.test.loss,
        "test_samples": report.test.samples,
        "parameters": report.parameters,
        "host_parameters": report.host_parameters,
        "forward_flops": report.forward_flops,
        "train_seconds": report.train_seconds,
        "measure_seconds": report.measure_seconds,
    }


def _difference(grown: FinalReport, twin: FinalReport) -> dict[str, Any]:
    ours, theirs = _host(grown), _host(twin)
    keys = ("test_accuracy", "test_loss", "parameters", "forward_flops", "train_seconds")
    difference = {key: None if None in (ours[key], theirs[key]) else ours[key] - theirs[key] for key in keys}
    return difference | {"test_gain": _test_gain(grown, twin)}


def _test_gain(grown: FinalReport, twin: FinalReport) -> dict[str, Any] | None:
    if grown.test.sample_losses is None or twin.test.sample_losses is None:
        return None
    gain: dict[str, Any] = plain(paired_difference(twin.test.sample_losses, grown.test.sample_losses))
    return gain
