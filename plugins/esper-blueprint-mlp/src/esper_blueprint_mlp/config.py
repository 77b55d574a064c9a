"""Options of the mlp blueprint."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class MlpConfig:
    """Options of `mlp`.

    Attributes:
        expansion: width of the hidden layer, as a multiple of the site's width.
    """

    expansion: int = field(default=4, validator=(validators.instance_of(int), validators.ge(1)))
