"""Options of the flex-attention blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class FlexAttentionConfig:
    """Options of `flex-attention`.

    Attributes:
        heads: number of attention heads; it must divide the site's width.
        window: a position attends to positions less than this far away, itself included. None: to all that it may see.
    """

    heads: int = field(default=4, validator=(validators.instance_of(int), validators.ge(1)))
    window: int | None = field(
        default=None, validator=validators.optional((validators.instance_of(int), validators.ge(1)))
    )
