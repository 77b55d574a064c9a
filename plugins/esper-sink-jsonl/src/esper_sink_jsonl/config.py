"""Options of the sink `jsonl`."""

from attrs import frozen


@frozen(kw_only=True)
class JsonlConfig:
    """Where and how to write.

    Attributes:
        path: the file. None: ``events.jsonl`` in the run's directory. An existing file is appended to.
        fsync: at the end of each epoch, wait until the events are on the disk and would survive a power failure.
    """

    path: str | None = None
    fsync: bool = False
