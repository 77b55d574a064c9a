"""Answering requests for artifacts on a bus: from the store, or as soon as the forge has made them."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.envelope import Envelope, MessageType
from esper_leyline_proto.kernels import KernelPrefetchError, KernelPrefetchReady, KernelPrefetchRequest
from esper_messaging.reading import Reader
from esper_modules.orders import guard_digest, order_of
from esper_modules.waiting import WaitingRequests
from esper_oona.bus import Bus
from esper_oona.messages import Stream
from esper_oona.publisher import Draft, Publisher
from esper_oona.replays import Replays
from esper_oona.signing import Signer
from esper_oona.subscriber import Subscription
from esper_tezzeret.forge import Forge, Outcome
from esper_tezzeret.orders import Order
from esper_tezzeret.queue import ForgeQueue
from esper_urza.signed_store import Artifact

#: A worker that was killed leaves its job to the next one after this time, and messages after the other one.
LEASE_SECONDS, _MESSAGE_SECONDS = 10.0, 10.0

#: How often requests that wait are looked at, whose jobs another worker may have done.
_LOOK_SECONDS = 0.5

#: So many answers are left on the bus for those who read late.
_KEPT = 1_000

_IDLE_SECONDS = 0.05
_GROUP = "forge"
_MINUTE = 60.0


@frozen(kw_only=True)
class Answered:
    """What a request was answered with.

    Attributes:
        request: the request.
        artifact: the digest of the artifact that is ready; "" if none is.
        reason: why there is none.
    """

    request: KernelPrefetchRequest
    artifact: str = ""
    reason: str = ""


class PrefetchWorker:
    """Answers requests. Several may share the work, and a state directory.

    A request is remembered in the state directory before its message is acknowledged, and its job is in the forge's
    queue: a worker that was killed goes on when it is started again, and answers those who still wait.

    Args:
        bus: where requests come from and answers go.
        forge: makes what the store does not have.
        queue: the forge's jobs.
        state: the state directory.
        signer: verifies requests, and signs answers.
        name: unique among the workers that live.
        tell: takes what was done.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        bus: Bus,
        forge: Forge,
        queue: ForgeQueue,
        state: Path,
        signer: Signer,
        *,
        name: str,
        tell: Callable[[Answered | Outcome], None] = lambda it: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus, self._forge, self._queue, self._tell, self._clock = bus, forge, queue, tell, clock
        self._waiting = WaitingRequests(state)
        self._publisher = Publisher(bus, signer, name=name)
        self._looked_at = self._trimmed_at = float("-inf")
        # The group of the workers finishes answers as well, so that they can be trimmed: those who wait have no group.
        self._reader = Reader(
            bus,
            _GROUP,
            name,
            {KernelPrefetchRequest: self._take, KernelPrefetchReady: _leave, KernelPrefetchError: _leave},
            signer=signer,
            replays=Replays(state / "replays.sqlite"),
            subscription=Subscription(batch=10, lease_seconds=_MESSAGE_SECONDS),
        )

    def run(self, stop: threading.Event) -> None:
        """Work until asked to stop. A bus or a store that does not answer is asked again."""
        while not stop.is_set():
            try:
                busy = self.step()
            except EsperError as error:
                if error.code not in ("E611", "E613", "E621"):
                    raise
                busy = False
                stop.wait(1.0)
            if not busy:
                stop.wait(_IDLE_SECONDS)

    def step(self) -> bool:
        """Take requests, make one attempt at a job, and answer; return whether there was anything to do.

        Raises:
            EsperError: E611 if the bus does not answer, E613 if it is full, E621 if the store does not answer.
        """
        taken = self._reader.poll()
        outcome = self._forge.step()
        if outcome is not None:
            self._tell(outcome)
        if outcome is not None or time.monotonic() - self._looked_at > _LOOK_SECONDS:
            self._answer_waiting()
        if time.monotonic() - self._trimmed_at > _MINUTE:
            self._trimmed_at = time.monotonic()
            for stream in (Stream.KERNEL_READY, Stream.KERNEL_ERRORS):
                self._bus.trim(stream, keep=_KEPT)
        return bool(taken) or outcome is not None

    def _take(self, request: KernelPrefetchRequest, _: Envelope) -> None:
        """Answer a request at once, or remember it and have its artifact made."""
        if self._expired(request):
            return
        order = self._order(request)
        if order is None or self._settled(request, order, self._states()):
            return
        self._waiting.add(request)
        self._submit(order, self._states())

    def _submit(self, order: Order, states: Mapping[str, str]) -> None:
        if states.get(order.id) not in ("waiting", "begun"):
            self._queue.submit([order])

    def _answer_waiting(self) -> None:
        states: Mapping[str, Any] | None = None
        submitted: set[str] = set()
        for request in self._waiting:
            states = self._states() if states is None else states
            order = None if self._expired(request) else self._order(request)
            if order is None or self._settled(request, order, states):
                self._waiting.remove(request)
            elif order.id not in submitted:
                # Its job was done, by a forge with another store, or the store has lost it since.
                submitted.add(order.id)
                self._submit(order, states)
        self._looked_at = time.monotonic()

    def _order(self, request: KernelPrefetchRequest) -> Order | None:
        """Return the order of a request; one that is none is answered with an error."""
        try:
            return order_of(request)
        except EsperError as error:
            self._refuse(request, error.code, error.why or error.what)
            return None

    def _settled(self, request: KernelPrefetchRequest, order: Order, states: Mapping[str, Any]) -> bool:
        """Answer a request if it is known by now what its answer is."""
        try:
            _, artifact = self._forge.look_up(order)
        except EsperError as error:
            if error.code == "E621":
                raise
            self._refuse(request, error.code, error.why or error.what)
            return True
        if artifact is not None:
            self._ready(request, order, artifact)
            return True
        if states.get(order.id) == "quarantined":
            self._refuse(request, "quarantined", self._why(order))
            return True
        return False

    def _states(self) -> Mapping[str, str]:
        return {it.id: it.state for it in self._queue.statuses()}

    def _why(self, order: Order) -> str:
        found = [it.error for it in self._queue.statuses() if it.id == order.id]
        return f"{found[-1]}; esper forge retry lets it be tried again"

    def _expired(self, request: KernelPrefetchRequest) -> bool:
        return request.expires_at is not None and request.expires_at.timestamp() < self._clock()

    def _ready(self, request: KernelPrefetchRequest, order: Order, artifact: Artifact) -> None:
        manifest = artifact.manifest
        prewarm = {name: manifest.facts.get(name) for name in ("prewarm_p50_ms", "prewarm_p95_ms")}
        ready = KernelPrefetchReady(
            request_id=request.request_id,
            blueprint=request.blueprint,
            artifact_ref=manifest.inputs.digest,
            artifact_version=f"{manifest.inputs.compiler} {manifest.inputs.compiler_version}",
            checksum=manifest.sha256,
            guard_digest=guard_digest(order),
            issued_at=datetime.now(UTC),
            **prewarm,
        )
        self._publisher.publish([Draft(type=MessageType.KERNEL_PREFETCH_READY, payload=to_bytes(ready))])
        self._tell(Answered(request=request, artifact=manifest.inputs.digest))

    def _refuse(self, request: KernelPrefetchRequest, code: str, reason: str) -> None:
        error = KernelPrefetchError(
            request_id=request.request_id,
            blueprint=request.blueprint,
            code=code,
            reason=reason,
            issued_at=datetime.now(UTC),
        )
        self._publisher.publish([Draft(type=MessageType.KERNEL_PREFETCH_ERROR, payload=to_bytes(error))])
        self._tell(Answered(request=request, reason=f"{code}: {reason}"))


def _leave(_: Any, __: Envelope) -> None:
    pass
