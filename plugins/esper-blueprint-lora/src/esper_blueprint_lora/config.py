"""Options of the lora blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class LoraConfig:
    """Options of `lora`.

    Attributes:
        rank: largest rank of the update; at a narrower site the rank is the site's width.
        limit: the largest ratio of the update's norm to the activation's norm, at any position.
    """

    rank: int = field(default=8, validator=(validators.instance_of(int), validators.ge(1)))
    limit: float = field(default=1.0, converter=float, validator=(validators.gt(0.0), validators.lt(float("inf"))))
