"""How a run is saved while it goes on. Imports no torch."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class CheckpointsConfig:
    """How a run is saved while it goes on.

    Attributes:
        every: epochs between two checkpoints; 0 for none, ``auto`` to go by the clock.
        seconds: by the clock, the newest checkpoint is at most this old, unless an epoch takes longer, or saving this
            often would take more than 2 % of the run's time. There is always one at the end.
        keep: this many of the newest are kept, and always the newest one with which nothing was wrong.
    """

    every: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.ge(0)])
    )
    seconds: float = field(default=10.0, validator=[validators.instance_of((int, float)), validators.gt(0.0)])
    keep: int = field(default=2, validator=[validators.instance_of(int), validators.ge(1)])
