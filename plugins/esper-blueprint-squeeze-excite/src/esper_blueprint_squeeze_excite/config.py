"""Options of the squeeze-excite blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class SqueezeExciteConfig:
    """Options of `squeeze-excite`.

    Attributes:
        reduction: the site's width divided by the width of the hidden layer, which has at least one unit.
    """

    reduction: int = field(default=4, validator=(validators.instance_of(int), validators.ge(1)))
