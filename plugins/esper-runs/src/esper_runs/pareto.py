"""Networks that no other one beats in quality and size at once (Pareto, 1906)."""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

from attrs import frozen

from esper_runs.formatting import as_number
from esper_runs.run_record import RunRecord


@frozen(kw_only=True)
class MeasuredNetwork:
    """One host at the end of a run, as measured on the test split. What is not a finite number is None.

    Attributes:
        run: the run's name.
        task: what it was trained on.
        host: its name in the run.
        accuracy: 0 to 1.
        loss: in nats.
        parameters: number of parameters, seeds included.
        forward_flops: floating-point operations of one sample's forward pass.
    """

    run: str
    task: str
    host: str
    accuracy: float | None
    loss: float | None
    parameters: float | None
    forward_flops: float | None


def measured_networks(records: Iterable[RunRecord]) -> tuple[MeasuredNetwork, ...]:
    """Return the hosts of all runs that are over, the twins included."""
    return tuple(
        MeasuredNetwork(
            run=record.name,
            task=str((record.result or {}).get("task") or (record.config.get("task") or {}).get("name") or ""),
            host=str(name),
            accuracy=_finite(host.get("test_accuracy")),
            loss=_finite(host.get("test_loss")),
            parameters=_finite(host.get("parameters")),
            forward_flops=_finite(host.get("forward_flops")),
        )
        for record in records
        for name, host in ((record.result or {}).get("hosts") or {}).items()
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Return the indices of the points that no other one beats, by rising cost.

    Args:
        points: cost, of which less is better, and quality, of which more is better. Equal points are all returned.
    """
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1] or points[index] == points[front[-1]]:
            front.append(index)
    return tuple(front)


def _finite(value: Any) -> float | None:
    number = as_number(value)
    return number if number is not None and isfinite(number) else None
