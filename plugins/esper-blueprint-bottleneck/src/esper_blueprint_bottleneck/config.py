"""Options of the bottleneck blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class BottleneckConfig:
    """Options of `bottleneck`.

    Attributes:
        ratio: channels of the inner convolution, as a share of the site's width; at least one channel remains.
    """

    ratio: float = field(default=0.5, converter=float, validator=(validators.gt(0.0), validators.le(1.0)))
