"""Whether messages flow beside those that cannot be handled: seconds with such ones against seconds without."""

import time
from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from esper_app_bus.torture.metronome import withheld
from esper_app_bus.torture.notes import Note

#: How much longer the 99th percentile may be with poisoned messages.
LONGEST_RATIO = 1.5

#: A consumer that was given nothing looks again after so many seconds; shorter differences are not the bus's.
IDLE_SECONDS = 0.01

#: With fewer messages on a side nothing is compared.
FEWEST = 100

#: After a second to begin, each second is of one sort; so what grows or shrinks with time counts on both sides. Its
#: beginning belongs to neither, because something of the second before may be left.
_SETTLING_SECONDS = 0.3
_ORDER = ("clean", "poisoned", "poisoned", "clean")


@frozen
class Calm:
    """The time before the first kill.

    Attributes:
        seconds: how long it lasts.
        begun: when, by the machine's monotonic clock.
    """

    seconds: float
    begun: float = field(factory=time.monotonic)

    def wave(self) -> str:
        """``clean`` or ``poisoned``; "" before and after."""
        passed = time.monotonic() - self.begun
        settled = 1.0 <= passed < self.seconds and passed % 1.0 >= _SETTLING_SECONDS
        return _ORDER[int(passed - 1.0) % 4] if settled else ""

    @property
    def over(self) -> bool:
        """Whether processes are killed by now."""
        return time.monotonic() - self.begun >= self.seconds


@frozen
class Flow:
    """What was found.

    Attributes:
        clean_seconds, poisoned_seconds: the 99th percentile from publication to handling of messages that were
            published in seconds without and with poisoned ones; of other keys than those.
        late_seconds: the longest time by which a timer was late meanwhile.
        slowest: the slowest message in seconds with poisoned ones.
    """

    clean_seconds: float
    poisoned_seconds: float
    late_seconds: float
    slowest: str

    @property
    def held_up(self) -> bool:
        """Whether the others were held up, by more than the machine and the consumers are late themselves."""
        return self.poisoned_seconds > LONGEST_RATIO * self.clean_seconds + self.late_seconds + IDLE_SECONDS


def flow(notes: Sequence[Note], first: Mapping[str, Note]) -> Flow | None:
    """Compare the two; None if there are too few messages.

    Args:
        notes: all of them.
        first: the first handling of each message.
    """
    poisoned = {it.key for it in notes if it.sort == "poison" and it.wave}
    others = [it for it in first.values() if it.wave and it.key not in poisoned]
    sides = [sorted((it.seconds, it.id) for it in others if it.wave == wave) for wave in ("clean", "poisoned")]
    if min(map(len, sides)) < FEWEST:
        return None
    clean, bad = sides
    calm = [it.at for it in notes if it.wave]
    late = [end - begin for begin, end in withheld(notes) if min(calm) <= end <= max(calm)]
    return Flow(_p99(clean), _p99(bad), max(late, default=0.0), bad[-1][1])


def _p99(delays: Sequence[tuple[float, str]]) -> float:
    return delays[len(delays) * 99 // 100][0]


def poisonable(key: str) -> bool:
    """Whether a key may have poisoned messages in that time; the others are looked at."""
    return key.endswith("/0")


def told(found: Flow | None) -> Iterable[str]:
    """What people read."""
    if found is None:
        yield "with and without poisoned messages: not compared, too few were handled before the first kill"
    else:
        yield (
            f"p99 without poisoned messages {found.clean_seconds:.3f} s, of others beside them "
            f"{found.poisoned_seconds:.3f} s"
        )
