"""What a publisher does when consumers do not keep up, and how many emergencies it lets pass."""

import time
from collections.abc import Callable
from enum import StrEnum

from attrs import field, frozen, validators


class WhenFull(StrEnum):
    """What happens to a message for a stream that is full.

    Attributes:
        WAIT: the publisher waits for consumers; if that takes too long, the message is refused.
        REFUSE: the publisher is told so by an error (E613); nothing is lost unnoticed.
        DROP: the message is counted and dropped; for what is worth little, such as telemetry.
    """

    WAIT = "wait"
    REFUSE = "refuse"
    DROP = "drop"


@frozen(kw_only=True)
class Pressure:
    """The declared policy against streams that grow without end.

    Attributes:
        limit: a stream is full if a group has not finished so many of its messages.
        when_full: what happens then.
        wait_seconds: how long `WhenFull.WAIT` waits.
        sample_seconds: how old the known depth of a stream may be. Within that time a stream can grow beyond its limit
            by what other publishers send; what this one sends is counted.
    """

    limit: int = field(default=100_000, validator=validators.ge(1))
    when_full: WhenFull = field(default=WhenFull.WAIT, converter=WhenFull)
    wait_seconds: float = field(default=5.0, validator=validators.ge(0.0))
    sample_seconds: float = field(default=0.5, validator=validators.ge(0.0))


class TokenBucket:
    """Lets so many things pass a minute, and that many at once after a quiet minute.

    Args:
        per_minute: its capacity, and how fast it fills.
        clock: seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._tokens = float(per_minute)
        self._at = clock()

    def take(self) -> bool:
        """Take a token, if there is one."""
        now = self._clock()
        self._tokens = min(float(self.per_minute), self._tokens + (now - self._at) * self.per_minute / 60.0)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
