"""The part of a run's state that is shown: kept up to date by events, drawn by others."""

from collections import deque
from collections.abc import Mapping
from math import isfinite
from typing import Any

from attrs import define, field

from esper_core.leyline.events import Event, EventKind
from esper_runs.formatting import as_number
from esper_runs.result import is_control, is_twin

_SPLITS = ("train", "validation")

#: Of so many of the newest epochs the losses are remembered.
CURVE = 8


@define
class HostBoard:
    """One host.

    Attributes:
        epoch: the last epoch that it completed, from 0; None before the first.
        evidence: what was measured in it.
        slots: the stage of each slot, by name, in site order.
        seeds: the evidence about each seed, by slot.
        losses: on the validation split, of the newest epochs, the oldest first.
    """

    epoch: int | None = None
    evidence: Mapping[str, Any] = field(factory=dict)
    slots: dict[str, str] = field(factory=dict)
    seeds: dict[str, Mapping[str, Any]] = field(factory=dict)
    losses: deque[float] = field(factory=lambda: deque(maxlen=CURVE))


@define
class Board:
    """A run.

    Attributes:
        title: what runs.
        epochs: length of the run, None if it is not known.
        hosts: its hosts by name, in order of appearance.
        training: host, epoch (from 0), step (from 1) and steps of the epoch that is being trained; None if not known.
        first, latest: epochs that every host had completed, and when (seconds since 1970): the first time, and lately.
    """

    title: str
    epochs: int | None
    hosts: dict[str, HostBoard] = field(factory=dict)
    training: tuple[str, int, int, int] | None = None
    first: tuple[int, float] | None = None
    latest: tuple[int, float] | None = None

    @classmethod
    def of_run(cls, manifest: Mapping[str, Any]) -> "Board":
        """Begin with what a manifest says; anything may be missing."""
        config = manifest.get("config") or {}
        parts = [
            f"{section} {config[section]['name']}" for section in ("task", "host", "policy") if config.get(section)
        ]
        if "seed" in config:
            parts.append(f"seed {config['seed']}")
        title = ": ".join(filter(None, [manifest.get("name"), ", ".join(parts)]))
        # With a budget of floating-point operations a run has fewer epochs than it may have, and none knows how many.
        return cls(title=title, epochs=None if config.get("flops") else config.get("epochs"))

    def apply(self, event: Event) -> None:
        """Take one event in."""
        if event.kind is EventKind.EPOCH_COMPLETED:
            self.training = None
            board = self.hosts.get(event.host)
            if board is None:
                board = self.hosts[event.host] = HostBoard()
            board.epoch = event.epoch
            board.evidence = event.data
            board.slots = dict(event.data.get("slots", {}))
            board.seeds = {seed["slot"]: seed for seed in event.data.get("seeds", ())}
            if (nats := as_number((event.data.get("validation") or {}).get("loss"))) is not None:
                board.losses.append(nats)
            done = self.done
            if self.latest is None or done > self.latest[0]:
                self.latest = done, event.time
                self.first = self.first or self.latest
        elif event.kind is EventKind.SEED_TRANSITION:
            board = self.hosts.setdefault(event.host, HostBoard())
            board.slots[event.data["slot"]] = event.data["target"]
        elif event.kind is EventKind.ROLLBACK:
            self.hosts.setdefault(event.host, HostBoard()).slots = dict(event.data["slots"])

    @property
    def done(self) -> int:
        """How many epochs every host that has reported has completed. Controls, which come afterwards, do not count."""
        return min(
            (it.epoch + 1 for name, it in self.hosts.items() if it.epoch is not None and not is_control(name)),
            default=0,
        )

    @property
    def seconds_left(self) -> float | None:
        """About how long the rest will take, by the latest epoch of each host; None if that is not known.

        Several hosts may be trained side by side: then the clock says how long an epoch of all of them takes.
        """
        if self.epochs is None or not self.done:
            return None
        if len(self.growing()) > 1:
            if self.first is None or self.latest is None or self.first == self.latest:
                return None
            pace = (self.latest[1] - self.first[1]) / (self.latest[0] - self.first[0])
            return (self.epochs - self.done) * pace
        measured = [as_number(h.evidence.get(s, {}).get("seconds")) for h in self.hosts.values() for s in _SPLITS]
        known = [seconds for seconds in measured if seconds is not None and isfinite(seconds)]
        return (self.epochs - self.done) * sum(known) if len(known) == len(measured) else None

    def growing(self) -> dict[str, HostBoard]:
        """Return the hosts that may grow: all but twins and controls."""
        return {name: board for name, board in self.hosts.items() if not is_twin(name)}
