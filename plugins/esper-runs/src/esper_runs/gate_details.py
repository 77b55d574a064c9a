"""What a gate has said of a seed, in full: the verdict in words, what was measured, and the gate's thresholds."""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from esper_core.leyline.events import EventKind
from esper_runs.formatting import evidence_in_words, value_in_words
from esper_runs.run_record import RunRecord
from esper_runs.timeline_text import verdict_lines


@frozen(kw_only=True)
class GateDetails:
    """The latest verdict of one gate on one seed.

    Attributes:
        host, seed, gate: whose verdict on what.
        epochs: after which epochs it was asked, from 0, oldest first; None before the first.
        passed: the latest verdict.
        words: the latest verdict and its reason.
        measured: what was measured, in words, with units and errors.
        thresholds: the gate's options in this run, by name; none that are not known.
    """

    host: str
    seed: str
    gate: str
    epochs: tuple[int | None, ...]
    passed: bool
    words: str
    measured: tuple[str, ...]
    thresholds: tuple[tuple[str, str], ...]


def gate_details(record: RunRecord, most: int) -> list[GateDetails]:
    """Return a record for each gate that was asked about each seed: seed by seed, in the order in which they came.

    Of more than `most`, those that were asked first are left out.
    """
    found: dict[tuple[str, str, str], tuple[list[int | None], Mapping[str, Any]]] = {}
    for host, seed, epoch, gate in _verdicts(record):
        key = host, seed, str(gate["gate"])
        epochs, before = found.get(key, ([], None))
        # The verdict after an epoch stands in the transition that follows as well.
        if before != gate:
            found[key] = [*epochs, epoch], gate
    newest = [*found.items()][-most:]
    seeds = {key[:2]: place for place, (key, _) in reversed([*enumerate(newest)])}
    options = record.config.get("gates") or {}
    return [
        GateDetails(
            host=host,
            seed=seed,
            gate=level,
            epochs=tuple(epochs),
            passed=bool(gate["passed"]),
            words=verdict_lines({**gate, "evidence": {}})[0],
            measured=tuple(_measured(gate.get("evidence") or {})),
            thresholds=_thresholds(options.get(level)),
        )
        for (host, seed, level), (epochs, gate) in sorted(newest, key=lambda item: seeds[item[0][:2]])
    ]


def _verdicts(record: RunRecord) -> Iterator[tuple[str, str, int | None, Mapping[str, Any]]]:
    for event in record.timeline:
        seed = event.seed_id or event.slot or ""
        if event.kind == EventKind.GATES_EVALUATED:
            yield event.host, seed, event.epoch, event.data
        elif event.kind == EventKind.SEED_TRANSITION:
            yield from ((event.host, seed, event.epoch, gate) for gate in event.data.get("gates") or ())


def _measured(evidence: Mapping[str, Any]) -> Iterator[str]:
    """One figure each, but for differences, whose errors belong to them."""
    taken: set[str] = set()
    for key in evidence:
        if key in taken:
            continue
        stem = key.removesuffix("_nats")
        group = [key, *([f"{stem}_standard_error", f"{stem}_samples"] if stem != key else [])]
        taken.update(group)
        yield evidence_in_words({name: evidence[name] for name in group if name in evidence})


def _thresholds(options: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(options, Mapping):
        return ()
    return tuple((str(name).replace("_", " "), value_in_words(value)) for name, value in options.items())
