"""Options of the lora blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class LoraConfig:
    """Options of `lora`.

    Attributes:
        rank: largest rank of the update; where the site, or its input, is narrower, the rank is that width.
        limit: the largest norm of the update's matrix, as a multiple of that of the layer's own weight where the seed
            takes the layer's input.
    """

    rank: int = field(default=8, validator=(validators.instance_of(int), validators.ge(1)))
    limit: float = field(default=1.0, converter=float, validator=(validators.gt(0.0), validators.lt(float("inf"))))
