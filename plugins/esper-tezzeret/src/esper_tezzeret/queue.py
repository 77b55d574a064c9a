"""The jobs of a forge: the log of esper-bus-sqlite, in a file of the state directory."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from esper_bus_sqlite.log import MessageLog
from esper_core.leyline.errors import EsperError
from esper_core.leyline.structure import structure
from esper_oona.api import Delivery, Outgoing, Survival
from esper_tezzeret.orders import Order
from esper_urza.inputs import canonical

#: So many times a job is tried before it is quarantined.
ATTEMPTS = 3

#: A forge that dies leaves its job to the next one after this time.
LEASE_SECONDS = 30.0

#: A job that failed lets others go first for so long.
DELAY_SECONDS = 1.0

#: So many finished jobs are remembered.
REMEMBERED = 1_000

_FILE, _JOBS, _OUTCOMES, _GROUP = "forge.sqlite", "jobs", "outcomes", "forge"


@frozen
class Taken:
    """A job that a forge has leased, and what it is."""

    delivery: Delivery
    order: Order


@frozen(kw_only=True)
class JobStatus:
    """What is known of a job.

    Attributes:
        id: of its order.
        order: what is wanted.
        state: ``waiting``, ``begun``, ``made``, ``found`` (the store had it) or ``quarantined``. What a forge has begun
            that was killed goes on as soon as its lease is over.
        attempts: how many times it was begun.
        error: why it failed last; "" if it did not.
        at: when that was, in seconds since 1970; None of a job that was never begun.
        artifact: the digest of its artifact; "" if there is none.
    """

    id: str
    order: Order
    state: str
    attempts: int = 0
    error: str = ""
    at: float | None = None
    artifact: str = ""


class ForgeQueue:
    """Jobs with leases, attempts and a quarantine. Several forges may use it at once.

    Args:
        state: the state directory, which holds the file ``forge.sqlite``.
        worker: unique among the forges that live.
        lease_seconds: a forge that dies leaves its job to the next one after this time.

    Raises:
        EsperError: E611 if the file cannot be used.
    """

    def __init__(self, state: Path, worker: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._log = MessageLog(state / _FILE, survives=Survival.SERVER, synchronous="NORMAL")
        self._worker = worker
        self.lease_seconds = lease_seconds
        for stream in (_JOBS, _OUTCOMES):
            self._log.join(stream, _GROUP)

    @staticmethod
    def is_there(state: Path) -> bool:
        """Say whether a state directory has jobs, without making anything."""
        return (state / _FILE).exists()

    def submit(self, orders: Sequence[Order]) -> Sequence[str]:
        """Add jobs, all or none, and return their ids."""
        self._log.publish(_JOBS, [Outgoing(it.id, it.written()) for it in orders])
        return [it.id for it in orders]

    def take(self) -> Taken | None:
        """Lease the next job; None if there is none now. One that killed its forge `ATTEMPTS` times is quarantined."""
        deliveries = self._log.receive(
            _JOBS, _GROUP, self._worker, limit=1, lease_seconds=self.lease_seconds, attempts=ATTEMPTS
        )
        for delivery in deliveries:
            try:
                taken = Taken(delivery, _order(delivery.body))
            except (EsperError, ValueError) as error:
                self._log.bury(delivery, f"it cannot be read: {error}")
                continue
            self._note(taken.delivery.position, "begun", taken.delivery.attempt)
            return taken
        return None

    def renew(self, taken: Taken) -> bool:
        """Extend the lease; False if the job is another forge's by now."""
        return bool(self._log.renew([taken.delivery], lease_seconds=self.lease_seconds))

    def finish(self, taken: Taken, state: str, artifact: str) -> None:
        """Finish a job: it is ``made`` or ``found``."""
        if self._log.acknowledge([taken.delivery]):
            self._note(taken.delivery.position, state, taken.delivery.attempt, artifact=artifact)

    def fail(self, taken: Taken, error: EsperError, *, hopeless: bool) -> str:
        """Give a job back after an error, or quarantine it; return its state.

        Args:
            taken: the job.
            error: why it failed.
            hopeless: another attempt would fail as well.
        """
        why = f"{error.code}: {error.why or error.what}"
        if not self.renew(taken):
            # Another forge has it: what becomes of it is for that one to say.
            return "waiting"
        if hopeless or taken.delivery.attempt >= ATTEMPTS:
            self._log.bury(taken.delivery, why)
            return "quarantined"
        self._note(taken.delivery.position, "waiting", taken.delivery.attempt, error=why)
        self._log.retry(taken.delivery, delay_seconds=DELAY_SECONDS)
        return "waiting"

    def give_back(self, taken: Taken) -> None:
        """Leave a job to the next forge, as if it had not been begun; one that another forge has is left to that."""
        if not self.renew(taken):
            return
        self._note(taken.delivery.position, "waiting", taken.delivery.attempt - 1)
        self._log.retry(taken.delivery, delay_seconds=0.0, counts=False)

    def unfinished(self) -> int:
        """Return how many jobs are neither finished nor quarantined."""
        return sum(it.depth for it in self._log.backlogs() if it.stream == _JOBS)

    def statuses(self) -> Sequence[JobStatus]:
        """Return the jobs that are known, in the order in which they were submitted."""
        last = {it["position"]: it for it in map(_outcome, self._log.tail(_OUTCOMES, 4 * REMEMBERED))}
        found = {at: _status(it.body, last.get(at)) for at, it in self._log.tail(_JOBS, 4 * REMEMBERED)}
        for letter in self._log.dead(4 * REMEMBERED):
            if letter.stream == _JOBS:
                outcome = {"state": "quarantined", "attempt": letter.attempts, "error": letter.reason, "at": letter.at}
                found[letter.position] = _status(letter.body, outcome)
        return [it for _, it in sorted(found.items()) if it is not None]

    def retry(self, ids: Sequence[str] = ()) -> int:
        """Let quarantined jobs be tried again, as if they were new; all of them unless some are named."""
        letters = [it for it in self._log.dead(4 * REMEMBERED) if it.stream == _JOBS and (not ids or it.key in ids)]
        requeued = self._log.requeue([it.id for it in letters])
        for letter in letters:
            self._note(letter.position, "waiting", 0)
        return requeued

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _note(self, position: int, state: str, attempt: int, *, error: str = "", artifact: str = "") -> None:
        note = {
            "position": position,
            "state": state,
            "attempt": attempt,
            "error": error,
            "artifact": artifact,
            "at": time.time(),
        }
        self._log.publish(_OUTCOMES, [Outgoing("", canonical(note))])
        # Nobody waits for them: they are handled as soon as they are there, so that old ones can go.
        while read := self._log.receive(_OUTCOMES, _GROUP, self._worker, limit=100, lease_seconds=1.0, attempts=2**31):
            self._log.acknowledge(read)
        for stream in (_JOBS, _OUTCOMES):
            self._log.trim(stream, keep=REMEMBERED if stream == _JOBS else 4 * REMEMBERED)


def _order(body: bytes) -> Order:
    return structure(Order, json.loads(body), path="order")


def _outcome(message: tuple[int, Outgoing]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message[1].body)
    return found


def _status(body: bytes, outcome: dict[str, Any] | None) -> JobStatus | None:
    try:
        order = _order(body)
    except (EsperError, ValueError):
        return None
    if outcome is None:
        return JobStatus(id=order.id, order=order, state="waiting")
    return JobStatus(
        id=order.id,
        order=order,
        state=outcome["state"],
        attempts=outcome["attempt"],
        error=outcome["error"],
        at=outcome["at"],
        artifact=outcome.get("artifact", ""),
    )
