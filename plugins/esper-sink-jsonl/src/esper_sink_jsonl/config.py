"""Options of the sink `jsonl`."""

from attrs import frozen


@frozen(kw_only=True)
class JsonlConfig:
    """Where and how to write.

    Attributes:
        path: the file. None: ``events.jsonl`` in the run's directory. An existing log is appended to; what is no log of
            events is refused. Outside of the run's directory nothing is ever cut: after a resume, events with numbers
            that were given out before take back those that they repeat. Its name ends in .jsonl, .ndjson, .json or .log
            there.
        fsync: at the end of each epoch, wait until the events are on the disk and would survive a power failure.
    """

    path: str | None = None
    fsync: bool = False
