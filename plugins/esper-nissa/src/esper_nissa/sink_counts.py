"""What became of a sink's events."""

from attrs import frozen


@frozen(kw_only=True)
class SinkCounts:
    """What became of a sink's events.

    Attributes:
        delivered: events that the sink took without raising.
        dropped: events of a batch at which it raised, those that came after it was disabled, and those for which there
            was no room.
        errors: how often it raised.
        disabled: it raised too often, or hangs, and is not called any more.
        last_error: what it raised last, and where.
    """

    delivered: int = 0
    dropped: int = 0
    errors: int = 0
    disabled: bool = False
    last_error: str | None = None
