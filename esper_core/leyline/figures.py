"""A host's final report as the figures that a result holds."""

from math import isnan
from typing import Any

from esper_core.leyline.records import plain
from esper_core.leyline.reports import FinalReport

_COUNTED = ("epochs", "parameters", "host_parameters", "forward_flops", "train_seconds", "measure_seconds")


def host_figures(report: FinalReport) -> dict[str, Any]:
    """Return plain figures by name; those that were not measured on a test split are None."""
    tested = report.test if report.test.samples else None
    return {
        "test_accuracy": tested.accuracy if tested and not isnan(tested.accuracy) else None,
        "test_loss": tested.loss if tested else None,
        "test_samples": report.test.samples,
        **{name: getattr(report, name) for name in _COUNTED},
        "rollbacks": plain(report.rollbacks),
        "failure": report.failure,
        "compute": {**plain(report.compute), "total": report.compute.total},
        "numerics": plain(report.numerics),
    }
