"""Options of the policy `random`."""

from attrs import field, frozen, validators

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
