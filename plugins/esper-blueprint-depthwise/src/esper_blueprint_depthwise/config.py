"""Options of the depthwise blueprint."""

from typing import Any

from attrs import Attribute, field, frozen, validators


def _odd(_: Any, attribute: "Attribute[int]", value: int) -> None:
    if value % 2 == 0:
        raise ValueError(f"{attribute.name} must be odd to keep height and width; got {value}")


@frozen(kw_only=True)
class DepthwiseConfig:
    """Options of `depthwise`.

    Attributes:
        kernel: side of the square kernel of the depthwise convolution; odd.
    """

    kernel: int = field(default=3, validator=(validators.instance_of(int), validators.ge(1), _odd))
