"""Options of the lora blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class LoraConfig:
    """Options of `lora`.

    Attributes:
        rank: rank of the update at most; a site narrower than that has its width as rank.
        limit: the largest ratio of the update's length to the activation's length, at any position.
    """

    rank: int = field(default=8, validator=(validators.instance_of(int), validators.ge(1)))
    limit: float = field(default=1.0, converter=float, validator=(validators.gt(0.0), validators.lt(float("inf"))))
