"""Options of the policies."""

from math import inf

from attrs import field, frozen, validators

from esper_core.api import Blend

_FINITE = validators.and_(validators.instance_of((int, float)), validators.lt(inf))

_SHARE = validators.optional([validators.instance_of((int, float)), validators.ge(0.0), validators.le(1.0)])


@frozen(kw_only=True)
class RandomConfig:
    """Options of `random`.

    Attributes:
        germination: probability, 0 to 1, of germinating in an epoch in which that is possible; the other possible
            operations share the rest evenly. None: as likely as any other.
        seed: of all that is drawn.
    """

    germination: float | None = field(default=None, validator=_SHARE)
    seed: int = field(default=0, validator=validators.instance_of(int))


@frozen(kw_only=True)
class PeriodicConfig:
    """Options of `periodic`.

    Attributes:
        every_epochs: epochs from one germination to the next.
        first_epoch: the epoch before which the first seed is germinated, from 0.
        every_flops: floating-point operations of the host from one germination to the next, in the place of both: all
            of them count, as for the run's budget ``flops``. None: epochs count.
        first_flops: with it, operations that are spent before the first seed is germinated; None: `every_flops`.
        slots: in how many slots a seed is germinated each time, at most. Those that the limits of the run do not allow
            together are denied.
        blueprint: the only one that is germinated; None: the first in the catalogue that fits.
        blend: how a seed is blended in.
        ramp_epochs: length of the rise of its alpha; 0 for alpha 1 at once, None for what ``lifecycle.ramp_epochs``
            says.
    """

    every_epochs: int = field(default=5, validator=[validators.instance_of(int), validators.ge(1)])
    first_epoch: int = field(default=2, validator=[validators.instance_of(int), validators.ge(0)])
    every_flops: float | None = field(default=None, validator=validators.optional([_FINITE, validators.gt(0.0)]))
    first_flops: float | None = field(default=None, validator=validators.optional([_FINITE, validators.ge(0.0)]))
    slots: int = field(default=1, validator=[validators.instance_of(int), validators.ge(1)])
    blueprint: str | None = field(default=None, validator=validators.optional(validators.instance_of(str)))
    blend: Blend = field(default=Blend.LINEAR, converter=Blend)
    ramp_epochs: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.ge(0)])
    )

    def __attrs_post_init__(self) -> None:
        if self.first_flops is not None and self.every_flops is None:
            raise ValueError(f"'first_flops' is {self.first_flops:g}, and does nothing without 'every_flops'")


@frozen(kw_only=True)
class FixedScheduleConfig:
    """Options of `fixed-schedule`.

    Attributes:
        run: the directory of the run that is repeated; None: an empty schedule, under which nothing is done.
        round: number of its round, from 0.
    """

    run: str | None = field(default=None, validator=validators.optional(validators.instance_of(str)))
    round: int = field(default=0, validator=[validators.instance_of(int), validators.ge(0)])
