"""What a submodule shows of how its attention and its feed-forward are made."""

from torch import Tensor, nn

from esper_blueprint_block.config import Activation

_HEADS = ("heads", "num_heads", "n_head", "n_heads", "nhead", "num_attention_heads")
_MOST_HEADS, _EXPANSION = 4, 4


def heads_of(module: nn.Module, width: int) -> int:
    """Return its number of attention heads; where it shows none, the largest divisor of the width up to 4."""
    for part in module.modules():
        for name in _HEADS:
            heads = getattr(part, name, None)
            if isinstance(heads, int) and not isinstance(heads, bool) and heads > 0 and width % heads == 0:
                return heads
    return max(heads for heads in range(1, _MOST_HEADS + 1) if width % heads == 0)


def hidden_of(module: nn.Module, width: int) -> int:
    """Return the hidden features of its feed-forward: matrices lead to it from the width, and back. Else 4 * width."""
    shapes = {_matrix_shape(part) for part in module.modules()}
    hidden = [there for (there, back) in shapes if back == width != there and (width, there) in shapes]
    return max(hidden, default=_EXPANSION * width)


def activation_of(module: nn.Module) -> Activation:
    """Return the activation that it names, as a submodule or as a function in ``activation``; else GELU."""
    names = [type(part).__name__.lower() for part in module.modules()]
    functions = (getattr(part, "activation", None) for part in module.modules())
    names += [getattr(function, "__name__", "").lower() for function in functions]
    known = {"gelu": Activation.GELU, "relu": Activation.RELU, "silu": Activation.SILU, "swish": Activation.SILU}
    return next((kind for name in names for word, kind in known.items() if word in name), Activation.GELU)


def _matrix_shape(part: nn.Module) -> tuple[int, ...]:
    weight = getattr(part, "weight", None)
    return tuple(weight.shape) if isinstance(weight, Tensor) and weight.ndim == 2 else (0, 0)
