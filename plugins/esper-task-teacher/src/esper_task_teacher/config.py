"""Options of the task `teacher`."""

from attrs import Attribute, field, frozen, validators

_POSITIVE = (validators.instance_of(int), validators.gt(0))
_SHARE = (validators.instance_of(float), validators.ge(0.0))


@frozen(kw_only=True)
class TeacherConfig:
    """The teacher and its images.

    Attributes:
        widths: channels of the teacher's blocks, first to last.
        updates: number of residual updates after each block: what a host with the same blocks has to grow there.
        strength: size of an update relative to the activation that it is added to; above 0, below 1.
        classes: number of classes, 2 to 100.
        channels: channels of an image.
        size: height and width of an image in pixels.
        grid: side of the grid of random values that is interpolated to an image.
        clear_share: the share of each class's images that are kept: those about which the teacher is most certain.
        label_noise: the share of labels that are replaced by random ones, in every split.
        train_samples, validation_samples, test_samples: sizes of the splits.
        data_seed: each seed gives a different teacher and different images.
    """

    widths: tuple[int, ...] = field(
        default=(4, 8),
        converter=tuple,
        validator=[validators.min_len(1), validators.deep_iterable(validators.instance_of(int))],
    )
    updates: tuple[int, ...] = field(
        default=(1, 1),
        converter=tuple,
        validator=validators.deep_iterable(validators.and_(validators.instance_of(int), validators.ge(0))),
    )
    strength: float = field(default=0.9, validator=[validators.instance_of(float), validators.gt(0), validators.lt(1)])
    classes: int = field(default=5, validator=[validators.instance_of(int), validators.ge(2), validators.le(100)])
    channels: int = field(default=1, validator=_POSITIVE)
    size: int = field(default=8, validator=_POSITIVE)
    grid: int = field(default=2, validator=[validators.instance_of(int), validators.ge(2)])
    clear_share: float = field(
        default=0.7, validator=[validators.instance_of(float), validators.gt(0), validators.le(1)]
    )
    label_noise: float = field(default=0.0, validator=[*_SHARE, validators.le(1)])
    train_samples: int = field(default=3000, validator=_POSITIVE)
    validation_samples: int = field(default=1000, validator=_POSITIVE)
    test_samples: int = field(default=2000, validator=_POSITIVE)
    data_seed: int = field(default=0, validator=[validators.instance_of(int), validators.ge(0)])

    @widths.validator
    def _even(self, _: "Attribute[tuple[int, ...]]", value: tuple[int, ...]) -> None:
        if unfit := [width for width in value if width < 2 or width % 2]:
            raise ValueError(f"'widths' must be even, because the teacher normalises in two groups; {unfit[0]} is not")

    @updates.validator
    def _one_for_each_block(self, _: "Attribute[tuple[int, ...]]", value: tuple[int, ...]) -> None:
        if len(value) != len(self.widths):
            raise ValueError(f"'updates' has {len(value)} numbers for the {len(self.widths)} blocks of 'widths'")

    @size.validator
    def _room_for_pools(self, _: "Attribute[int]", value: int) -> None:
        if value < 4:
            raise ValueError(f"'size' is {value}; it must be at least 4, because the teacher has two pools")
