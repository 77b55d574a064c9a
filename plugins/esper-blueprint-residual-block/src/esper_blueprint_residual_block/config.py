"""Options of the residual-block blueprint."""

from attrs import Attribute, field, frozen, validators


@frozen(kw_only=True)
class ResidualBlockConfig:
    """Options of `residual-block`.

    Attributes:
        expansion: channels between the two convolutions, as a multiple of the site's.
        kernel: side of the square kernels, odd; None: that of the largest odd square kernel in the site's submodule,
            and 3 if there is none.
        limit: rms(update) stays below this many times rms(h), for every image.
    """

    expansion: int = field(default=1, validator=(validators.instance_of(int), validators.ge(1)))
    kernel: int | None = field(
        default=None, validator=validators.optional(validators.and_(validators.instance_of(int), validators.ge(1)))
    )
    limit: float = field(default=1.0, converter=float, validator=(validators.gt(0.0), validators.lt(float("inf"))))

    @kernel.validator
    def _is_odd(self, _: "Attribute[int | None]", value: int | None) -> None:
        if value is not None and value % 2 == 0:
            raise ValueError(f"'kernel' is {value}; only an odd one keeps height and width")
