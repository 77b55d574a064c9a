"""The last round of a run: a policy that learns goes through several, and the record holds one after the other."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from esper_runs.run_record import RunRecord


def last_round(record: RunRecord) -> tuple[RunRecord, int]:
    """Return what a record holds of the last round, and how many rounds there were.

    In each round epochs are counted from 0, so that a host's epochs do not rise where one begins.
    """
    epochs = {host: _split(found) for host, found in record.epochs.items()}
    rounds = max((number for _, number in epochs.values()), default=1)
    if rounds == 1:
        return record, 1
    last = max((event.round for event in record.timeline), default=0)
    part = evolve(
        record,
        epochs={host: found for host, (found, _) in epochs.items()},
        rewards={host: _split(found)[0] for host, found in record.rewards.items()},
        timeline=tuple(event for event in record.timeline if event.round == last),
    )
    return part, rounds


def _split(found: Sequence[Mapping[str, Any]]) -> tuple[tuple[Mapping[str, Any], ...], int]:
    starts = [0, *(i for i in range(1, len(found)) if _epoch(found[i]) <= _epoch(found[i - 1]))]
    return tuple(found[starts[-1] :]), len(starts)


def _epoch(data: Mapping[str, Any]) -> int:
    epoch = data.get("epoch")
    return -1 if epoch is None else int(epoch)
