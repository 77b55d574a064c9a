"""Options of the sink `sqlite`."""

from attrs import frozen


@frozen(kw_only=True)
class SqliteConfig:
    """Where and how to write.

    Attributes:
        path: the file. None: ``events.sqlite`` in the run's directory. A file elsewhere can hold several runs; its name
            ends in .sqlite, .sqlite3 or .db. What is no database of events is refused.
        fsync: wait after each batch until the events are on the disk and would survive a power failure.
    """

    path: str | None = None
    fsync: bool = False
