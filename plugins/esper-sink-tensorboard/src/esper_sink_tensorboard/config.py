"""Options of the sink `tensorboard`."""

from attrs import frozen


@frozen(kw_only=True)
class TensorboardConfig:
    """Where to write.

    Attributes:
        logdir: a directory for several runs, in which this one gets a folder of its name. None: ``tensorboard`` in the
            run's directory.
    """

    logdir: str | None = None
