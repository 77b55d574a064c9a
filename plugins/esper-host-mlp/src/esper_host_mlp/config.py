"""Options of the host `mlp`."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class MlpHostConfig:
    """Options of the host `mlp`.

    Attributes:
        widths: outputs of each block's linear layer, first to last; one block or more.
    """

    widths: tuple[int, ...] = field(
        default=(8, 8),
        converter=tuple,
        validator=[
            validators.min_len(1),
            validators.deep_iterable(validators.and_(validators.instance_of(int), validators.gt(0))),
        ],
    )
