"""Options of the sink `directory`."""

from attrs import frozen


@frozen(kw_only=True)
class DirectoryConfig:
    """Where and how to write.

    Attributes:
        base: the directory in which each run gets a folder. None: ``telemetry`` beside the run's directory.
        fsync: at the end of each epoch, wait until the events are on the disk and would survive a power failure.
    """

    base: str | None = None
    fsync: bool = False
