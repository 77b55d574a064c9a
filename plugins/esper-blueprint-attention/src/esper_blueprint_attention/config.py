"""Options of the attention blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class AttentionConfig:
    """Options of `attention`.

    Attributes:
        heads: number of attention heads; it must divide the site's width.
    """

    heads: int = field(default=4, validator=(validators.instance_of(int), validators.ge(1)))
