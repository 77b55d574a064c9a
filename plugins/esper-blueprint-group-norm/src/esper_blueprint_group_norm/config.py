"""Options of the group-norm blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class GroupNormConfig:
    """Options of `group-norm`.

    Attributes:
        groups: number of groups; it must divide the site's width. None: chosen from the width, with 16 channels in a
            group if there are enough.
    """

    groups: int | None = field(
        default=None, validator=validators.optional((validators.instance_of(int), validators.ge(1)))
    )
