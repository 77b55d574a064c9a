"""Options. Each has a default, because a component must work without any settings."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class CoordinateAttentionConfig:
    """Set them as ``blueprints.example.<option>``.

    Attributes:
        reduction: the site's channels per hidden channel; at least one hidden channel is left.
    """

    reduction: int = field(default=4, validator=(validators.instance_of(int), validators.ge(1)))
