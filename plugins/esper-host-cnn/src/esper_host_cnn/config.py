"""Options of the host `cnn`."""

from enum import StrEnum

from attrs import Attribute, field, frozen, validators


class Norm(StrEnum):
    """What normalises a block's activation."""

    GROUP = "group"
    BATCH = "batch"


#: Groups of each GroupNorm where the options do not say.
_GROUPS = 2


@frozen(kw_only=True)
class CnnConfig:
    """Options of the host `cnn`.

    Attributes:
        widths: channels of each block, first to last; one block or more.
        pool: number of blocks, from the first, that end in a 2x2 max pool; with fewer blocks than that, all of them do.
        norm: ``group`` (GroupNorm) or ``batch`` (BatchNorm, whose running statistics are part of the network's state).
        groups: groups of each GroupNorm; must divide every width. None: 2. BatchNorm has none.
        channels_last: keep weights and activations in torch's channels_last memory format.
    """

    widths: tuple[int, ...] = field(
        default=(8, 16),
        converter=tuple,
        validator=[
            validators.min_len(1),
            validators.deep_iterable(validators.and_(validators.instance_of(int), validators.gt(0))),
        ],
    )
    pool: int = field(default=2, validator=[validators.instance_of(int), validators.ge(0)])
    norm: Norm = field(default=Norm.GROUP, converter=Norm)
    groups: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.gt(0)])
    )
    channels_last: bool = field(default=True, validator=validators.instance_of(bool))

    @groups.validator
    def _divides_widths(self, _: "Attribute[int | None]", value: int | None) -> None:
        if self.norm is Norm.BATCH:
            if value is not None:
                raise ValueError(f"'groups' is {value}, and BatchNorm has no groups: leave it out, or set norm=group")
            return
        unfit = [width for width in self.widths if width % self.norm_groups]
        if unfit:
            what = f"'groups' is {self.norm_groups} and does not divide the width {unfit[0]}"
            raise ValueError(f"{what} (widths {list(self.widths)})")

    @property
    def norm_groups(self) -> int:
        """Groups of each GroupNorm."""
        return _GROUPS if self.groups is None else self.groups

    @property
    def pooled_blocks(self) -> int:
        """Number of blocks that end in a pool."""
        return min(self.pool, len(self.widths))
