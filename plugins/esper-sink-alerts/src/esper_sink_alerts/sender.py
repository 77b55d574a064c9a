"""Posts notifications in a thread of its own, so that nobody waits for the other side."""

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from attrs import frozen

from esper_sink_alerts.webhook import Webhook

#: Notifications that wait at most; alerts are rare.
_MOST = 100


@frozen
class Notification:
    """What is posted.

    Attributes:
        about: what it is about, in words.
        content: JSON.
    """

    about: str
    content: bytes


class Sender:
    """Posts what it is given, in order.

    Args:
        webhook: where.
        failed: is called in the sender's thread with what was not taken, and why.

    Attributes:
        taken: notifications that the other side has taken.
        lost: those that it has not, and for which there was no room or no time.
    """

    def __init__(self, webhook: Webhook, failed: Callable[[Notification, str], None]) -> None:
        self.taken = self.lost = 0
        self._webhook = webhook
        self._failed = failed
        self._changed = threading.Condition()
        self._waiting: deque[Notification] = deque()
        self._busy = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="esper-alerts-webhook", daemon=True)
        self._thread.start()

    def put(self, notification: Notification) -> None:
        """Have something posted; where too much is waiting it is lost."""
        with self._changed:
            if len(self._waiting) >= _MOST or self._stop.is_set():
                self.lost += 1
                return
            self._waiting.append(notification)
            self._changed.notify_all()

    def close(self, seconds: float) -> None:
        """Wait for what is to be posted, up to so many seconds; what is left then is lost."""
        end = monotonic() + seconds
        with self._changed:
            while (self._waiting or self._busy) and (left := end - monotonic()) > 0:
                self._changed.wait(left)
            self.lost += len(self._waiting) + self._busy
            self._waiting.clear()
            self._stop.set()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stop.is_set():
                    self._changed.wait()
                if not self._waiting:
                    return
                notification, self._busy = self._waiting.popleft(), True
            error = None
            try:
                self._webhook.post(notification.content, self._stop)
            except Exception as raised:  # whatever is wrong with one post, the next may be taken
                error = raised
            with self._changed:
                closed, self._busy = self._stop.is_set(), False
                if not closed:
                    self.taken, self.lost = self.taken + (error is None), self.lost + (error is not None)
                self._changed.notify_all()
            if error is not None and not closed:
                self._failed(notification, str(error))
