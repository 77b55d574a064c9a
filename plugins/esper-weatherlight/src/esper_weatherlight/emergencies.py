"""Emergency signals as a supervisor sees them: which were heard, and whom they keep from running."""

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from esper_leyline_proto.commands import EmergencyLevel, EmergencySignal

#: So many signals are remembered, the newest.
REMEMBERED = 20

#: The attribute of a signal that names the service which it is about.
SERVICE = "service"


@frozen(kw_only=True)
class Pause:
    """Why the services that depend on one are paused.

    Attributes:
        sender: the service.
        reason: the signal's.
        until: seconds of the supervisor's clock; None: until the sender has been started again.
    """

    sender: str
    reason: str
    until: float | None


class Emergencies:
    """The signals so far. It may be used by several threads.

    Args:
        pause_seconds: for so long a signal below HALT pauses what depends on its sender.
    """

    def __init__(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()
        self._heard: deque[EmergencySignal] = deque(maxlen=REMEMBERED)
        self._senders: dict[str, str | None] = {}
        self._new: list[EmergencySignal] = []
        self._pauses: dict[str, Pause] = {}
        self._count = 0

    def hear(self, signal: EmergencySignal) -> None:
        """Take a signal; one that was heard before is left out."""
        with self._lock:
            if signal.id not in {it.id for it in self._heard}:
                self._count += 1
                self._heard.append(signal)
                self._new.append(signal)

    def settle(self, by_run: Mapping[str, str], now: float) -> list[tuple[EmergencySignal, str | None]]:
        """Let new signals pause what they pause; return each with the service that it is about, if it is about one.

        A HALT pauses until `well`, what is below for a time, a NOTICE not at all.

        Args:
            by_run: the services by the names of the runs that they do.
            now: seconds of the supervisor's clock.
        """
        with self._lock:
            found, self._new = [(it, _sender(it, by_run)) for it in self._new], []
            known = self._senders | {signal.id: sender for signal, sender in found}
            self._senders = {it.id: known.get(it.id) for it in self._heard}
            for signal, sender in found:
                if sender is not None and signal.level > EmergencyLevel.NOTICE:
                    halt = signal.level >= EmergencyLevel.HALT
                    until = None if halt else now + self._pause_seconds
                    before = self._pauses.get(sender)
                    if before is None or before.until is not None:
                        self._pauses[sender] = Pause(sender=sender, reason=signal.reason, until=until)
            self._pauses = {name: it for name, it in self._pauses.items() if it.until is None or it.until > now}
            return found

    def well(self, service: str) -> None:
        """A service has been started again by hand, or for another run: nothing is paused for it any more."""
        with self._lock:
            self._pauses.pop(service, None)

    def pause_of(self, requires: frozenset[str]) -> Pause | None:
        """Return why a service that depends on these is paused; None if it is not."""
        with self._lock:
            return next((self._pauses[name] for name in sorted(requires) if name in self._pauses), None)

    def shown(self) -> tuple[int, list[dict[str, Any]]]:
        """Return how many signals there were, and the newest as plain data, oldest first."""
        with self._lock:
            return self._count, [
                {
                    "id": it.id,
                    "level": it.level.name.lower(),
                    "reason": it.reason,
                    "origin": it.origin,
                    "run": it.run,
                    "service": self._senders.get(it.id),
                    "at": it.triggered_at.isoformat(),
                    "attributes": dict(it.attributes),
                }
                for it in self._heard
            ]


def _sender(signal: EmergencySignal, by_run: Mapping[str, str]) -> str | None:
    return signal.attributes.get(SERVICE) or by_run.get(signal.run or "")
