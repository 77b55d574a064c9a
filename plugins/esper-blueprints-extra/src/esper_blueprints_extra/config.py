"""Options of the blueprints."""

from typing import Any

from attrs import Attribute, field, frozen, validators


def _odd(_: Any, attribute: "Attribute[int]", value: int) -> None:
    if value % 2 == 0:
        raise ValueError(f"{attribute.name} must be odd to keep the size of the activation; got {value}")


def _from(least: int, default: int) -> Any:
    return field(default=default, validator=(validators.instance_of(int), validators.ge(least)))


def _kernel(default: int) -> Any:
    return field(default=default, validator=(validators.instance_of(int), validators.ge(1), _odd))


@frozen(kw_only=True)
class GroupedConvConfig:
    """Options of `grouped-conv`.

    Attributes:
        kernel: side of the square kernel; odd.
        groups: at most so many groups; the largest divisor of the width up to it is used.
    """

    kernel: int = _kernel(3)
    groups: int = _from(1, 4)


@frozen(kw_only=True)
class DilatedConvConfig:
    """Options of `dilated-conv`.

    Attributes:
        kernel: side of the square kernel; odd.
        dilation: distance between the kernel's elements.
    """

    kernel: int = _kernel(3)
    dilation: int = _from(1, 2)


@frozen(kw_only=True)
class DynamicConvConfig:
    """Options of `dynamic-conv`.

    Attributes:
        kernel: side of the square kernels; odd.
        experts: number of kernels that are mixed.
    """

    kernel: int = _kernel(3)
    experts: int = _from(2, 4)


@frozen(kw_only=True)
class LargeKernelConfig:
    """Options of `large-kernel`.

    Attributes:
        kernel: side of the square kernel of the depthwise convolution; odd.
        expansion: width of the hidden layer, as a multiple of the site's width.
    """

    kernel: int = _kernel(7)
    expansion: int = _from(1, 2)


@frozen(kw_only=True)
class ChannelAttentionConfig:
    """Options of `channel-attention`.

    Attributes:
        kernel: how many neighbouring channels a gate is computed from; odd.
    """

    kernel: int = _kernel(3)


@frozen(kw_only=True)
class SpatialAttentionConfig:
    """Options of `spatial-attention`.

    Attributes:
        kernel: side of the square from which a position's gate is computed; odd.
    """

    kernel: int = _kernel(7)


@frozen(kw_only=True)
class NonLocalConfig:
    """Options of `non-local`.

    Attributes:
        reduction: the site's width divided by the number of features in which positions are compared.
        pool: side of the square of positions that are averaged before they are looked at.
    """

    reduction: int = _from(1, 2)
    pool: int = _from(1, 2)


@frozen(kw_only=True)
class DenseBlockConfig:
    """Options of `dense-block`.

    Attributes:
        growth: channels that each layer adds.
        layers: number of layers.
    """

    growth: int = _from(1, 8)
    layers: int = _from(1, 2)


@frozen(kw_only=True)
class PyramidPoolingConfig:
    """Options of `pyramid-pooling`.

    Attributes:
        levels: number of grids; they have one cell, then 2 x 2, 4 x 4 and so on.
    """

    levels: int = field(default=3, validator=(validators.instance_of(int), validators.ge(1), validators.le(6)))


@frozen(kw_only=True)
class GatedMlpConfig:
    """Options of `gated-mlp`.

    Attributes:
        expansion: width of the hidden layer, as a multiple of the site's width.
    """

    expansion: int = _from(1, 3)


@frozen(kw_only=True)
class TemporalConvConfig:
    """Options of `temporal-conv`.

    Attributes:
        kernel: number of positions that are filtered together; odd.
        dilation: distance between them.
    """

    kernel: int = _kernel(3)
    dilation: int = _from(1, 1)


@frozen(kw_only=True)
class MixtureOfExpertsConfig:
    """Options of `mixture-of-experts`.

    Attributes:
        experts: number of perceptrons that are mixed.
        expansion: width of the hidden layer of each, as a multiple of the site's width.
    """

    experts: int = _from(2, 4)
    expansion: int = _from(1, 1)


@frozen(kw_only=True)
class HighwayConfig:
    """Options of `highway`.

    Attributes:
        bias: of the gate at birth; the lower it is, the less of the activation is replaced.
    """

    bias: float = field(default=0.0, converter=float, validator=(validators.ge(-3.0), validators.le(3.0)))


@frozen(kw_only=True)
class MemoryConfig:
    """Options of `memory`.

    Attributes:
        slots: number of learned entries.
    """

    slots: int = _from(2, 32)


@frozen(kw_only=True)
class RecursiveMlpConfig:
    """Options of `recursive-mlp`.

    Attributes:
        depth: how often the perceptron is applied.
        expansion: width of its hidden layer, as a multiple of the site's width.
    """

    depth: int = _from(1, 3)
    expansion: int = _from(1, 2)
