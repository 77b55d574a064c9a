"""Options of the conv-heavy blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class ConvHeavyConfig:
    """Options of `conv-heavy`.

    Attributes:
        expansion: channels between the two convolutions, as a multiple of the site's width.
    """

    expansion: int = field(default=2, validator=(validators.instance_of(int), validators.ge(1)))
