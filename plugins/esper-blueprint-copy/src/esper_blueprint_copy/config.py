"""Options of the copy blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class CopyConfig:
    """Options of `copy`.

    Attributes:
        limit: rms(update) stays below this many times rms(h), for every image, position or vector.
    """

    limit: float = field(default=1.0, converter=float, validator=(validators.gt(0.0), validators.lt(float("inf"))))
