"""Asking a bus for artifacts, and taking the answers."""

import threading
import time
from collections.abc import Callable, Collection
from uuid import uuid4

from attrs import define

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.envelope import Envelope, MessageType
from esper_leyline_proto.kernels import KernelPrefetchError, KernelPrefetchReady
from esper_leyline_proto.messages import content
from esper_modules.errors import not_delivered
from esper_modules.orders import request_of
from esper_oona.bus import Bus
from esper_oona.messages import LIFETIMES, Stream
from esper_oona.pressure import Pressure, WhenFull
from esper_oona.publisher import Draft, Publisher
from esper_oona.signing import Signer
from esper_tezzeret.orders import Order

#: Streams with answers. They are read without a group: a run that is killed leaves none behind that fills them.
_ANSWERS = (Stream.KERNEL_READY, Stream.KERNEL_ERRORS)

#: So many of the newest answers are looked at first, and so long is waited between two looks.
_LOOK, _PAUSE_SECONDS = 100, 0.05

#: Where a request was not answered in time, the next ones wait so long at most, until there is an answer again.
SILENT_SECONDS = 1.0

LATE, DUPLICATE = "late", "duplicate"

_Answer = KernelPrefetchReady | KernelPrefetchError


@define
class _Request:
    deadline: float
    answer: _Answer | None = None
    ended: bool = False


class Prefetcher:
    """Asks for artifacts on a bus. There is no thread: answers are taken while somebody waits, and when asked for.

    Args:
        open_bus: opens the bus, when it is needed first.
        signer: signs requests, and verifies answers.
        name: who asks, for those who read.
        clock: seconds since 1970.

    Attributes:
        silent: the last request that was waited for was not answered in time.
    """

    def __init__(
        self, open_bus: Callable[[], Bus], signer: Signer, *, name: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._open_bus, self._signer, self._name, self._clock = open_bus, signer, name, clock
        self._bus: Bus | None = None
        self._requests: dict[str, _Request] = {}
        self._positions: dict[Stream, int] = dict.fromkeys(_ANSWERS, -1)
        self._dropped: list[tuple[str, str]] = []
        self.silent = False

    def ask(self, order: Order, timeout: float) -> str:
        """Ask for an artifact, and return the request's id. It is waited for no longer than `timeout` seconds.

        Raises:
            EsperError: E611 if the bus does not answer, E614 if it does not keep messages, E631 if it is full.
        """
        patience = min(timeout, SILENT_SECONDS) if self.silent else timeout
        request_id = uuid4().hex
        request = request_of(order, request_id, timeout=patience, run=self._name)
        draft = Draft(
            type=MessageType.KERNEL_PREFETCH_REQUEST,
            payload=to_bytes(request),
            lifetime_seconds=min(patience, LIFETIMES[MessageType.KERNEL_PREFETCH_REQUEST]),
        )
        if not self._requests:
            # What is there already answers others.
            self._positions = {it: max((at for at, _ in self._opened().tail(it, 1)), default=-1) for it in _ANSWERS}
        full = {Stream.KERNEL_REQUESTS: Pressure(when_full=WhenFull.DROP)}
        done = Publisher(self._opened(), self._signer, name=self._name, pressure=full).publish([draft])
        if draft.id not in done.sent:
            raise not_delivered("the stream of requests is full: nobody takes them")
        self._requests[request_id] = _Request(deadline=time.monotonic() + patience)
        return request_id

    def wait(self, request_id: str) -> KernelPrefetchReady:
        """Return the answer to a request, and wait for it as long as there is time.

        Raises:
            EsperError: E611 if the bus does not answer, E631 if nobody has answered in time, or the answer is an error.
        """
        request = self._requests[request_id]
        try:
            self._look()
            while request.answer is None and time.monotonic() < request.deadline:
                threading.Event().wait(_PAUSE_SECONDS)
                self._look()
        finally:
            request.ended = True
        self.silent = request.answer is None
        return _said(request.answer)

    def poll(self, request_id: str) -> KernelPrefetchReady | None:
        """Return the answer to a request if it is there; None as long as there is time. It waits for nothing.

        Raises:
            EsperError: as `wait`.
        """
        request = self._requests[request_id]
        self._look()
        if request.answer is None and time.monotonic() < request.deadline:
            return None
        request.ended = True
        return _said(request.answer)

    def dropped(self, mine: Collection[str]) -> list[tuple[str, str]]:
        """Return those of these requests to which answers came that nobody waits for, and whether late or twice."""
        if self._bus is not None and any(id in mine for id in self._requests):
            try:
                self._look()
            except EsperError:
                # The next seed that needs it asks it again; until then no epoch waits for it.
                self._bus = None
        found = [it for it in self._dropped if it[0] in mine]
        self._dropped = [it for it in self._dropped if it[0] not in mine]
        return found

    def _opened(self) -> Bus:
        if self._bus is None:
            self._bus = self._open_bus()
        return self._bus

    def _look(self) -> None:
        """Take the answers that are new: all of them, however many came while nobody looked."""
        for stream in _ANSWERS:
            seen, count = self._positions[stream], _LOOK
            while len(found := self._opened().tail(stream, count)) == count and found[0][0] > seen + 1:
                count *= 4
            for position, message in found:
                if position > seen:
                    self._positions[stream] = position
                    self._take(message.body)

    def _take(self, body: bytes) -> None:
        try:
            envelope = from_bytes(Envelope, body)
            if self._signer.refusal(envelope, self._clock()) is not None:
                return
            answer = content(envelope)
        except EsperError:
            return  # not ours to judge: it answers nothing
        if not isinstance(answer, _Answer) or answer.request_id not in self._requests:
            return
        request = self._requests[answer.request_id]
        if request.answer is not None:
            self._dropped.append((answer.request_id, DUPLICATE))
            return
        request.answer = answer
        if request.ended:
            self.silent = False
            self._dropped.append((answer.request_id, LATE))


def _said(answer: _Answer | None) -> KernelPrefetchReady:
    if answer is None:
        raise not_delivered("there was no answer in time")
    if isinstance(answer, KernelPrefetchError):
        raise not_delivered(f"{answer.code}: {answer.reason}")
    return answer
