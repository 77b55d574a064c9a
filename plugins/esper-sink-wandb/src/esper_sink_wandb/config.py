"""Options of the sink `wandb`."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class WandbConfig:
    """Where to write.

    Attributes:
        module: ``wandb``, or ``trackio``, which has the same interface and keeps everything on this machine.
        project: the project's name.
        mode: ``offline``: nothing is sent, until ``wandb sync`` does. ``online``: it is sent while the run goes on.
    """

    module: str = field(default="wandb", validator=validators.in_(("wandb", "trackio")))
    project: str = field(default="esper", validator=validators.min_len(1))
    mode: str = field(default="offline", validator=validators.in_(("offline", "online")))
