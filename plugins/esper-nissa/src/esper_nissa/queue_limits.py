"""How a sink's queue behaves."""

from enum import StrEnum

from attrs import frozen

#: Events that the hub hands on together at most. To hand on costs more than to emit, so in a burst fewer than one in a
#: hundred calls of `emit` does it.
BATCH = 256

#: No queue is shorter; batches are not longer than a queue.
LEAST_CAPACITY = 64

#: A sink that does not return from a call within this many seconds is not called again.
DEADLINE = 30.0

#: Events that wait for one sink at most: a burst of 20,000 passes without a wait, however slow the sink is. Sinks share
#: the events that wait for them.
CAPACITY = 20_480


class WhenFull(StrEnum):
    """What happens to events when a sink does not keep up with them."""

    BLOCK = "block"  # training waits for the sink
    DROP_OLDEST = "drop-oldest"  # the oldest rewards, gates and diagnoses go; training waits only for the others
    FAIL = "fail"  # the run ends with E504


@frozen(kw_only=True)
class QueueLimits:
    """How a sink's queue behaves.

    Attributes:
        capacity: events that wait for the sink at most.
        when_full: what happens then.
        deadline: seconds that each call of the sink may take.
    """

    capacity: int = CAPACITY
    when_full: WhenFull = WhenFull.BLOCK
    deadline: float = DEADLINE
