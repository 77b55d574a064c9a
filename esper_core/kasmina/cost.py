"""What a seed or a whole network costs, computed on the meta device: no memory, no arithmetic, no random numbers."""

from collections.abc import Callable
from copy import deepcopy

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from esper_core.leyline.sites import Site


@frozen(kw_only=True)
class SeedCost:
    """What a seed adds to its host.

    Attributes:
        parameters: number of trainable and frozen parameters.
        forward_flops: floating-point operations of one forward pass for one sample; see `count_flops`.
    """

    parameters: int
    forward_flops: int


def seed_cost(build: Callable[[Site], nn.Module], site: Site) -> SeedCost:
    """Return the cost of the seed that `build` makes for a site, at the site's own sample shape.

    Raises:
        EsperError: E404, from the blueprint, if it cannot be built for the site.
    """
    with torch.device("meta"):
        module = build(site)
        h = torch.empty(site.shape(batch=1))
    return SeedCost(parameters=parameter_count(module), forward_flops=count_flops(module, h))


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def forward_flops(model: nn.Module, sample_shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> int:
    """Return what `count_flops` counts for one forward pass of any network for one sample.

    Args:
        model: a network that runs on the meta device; it is left as it is.
        sample_shape: shape of one input, the batch axis left out.
        dtype: of the input; an integer type for token indices.
    """
    on_meta = deepcopy(model).to("meta").eval()
    return count_flops(on_meta, torch.empty((1, *sample_shape), dtype=dtype, device="meta"))


def count_flops(module: nn.Module, inputs: Tensor) -> int:
    """Return the floating-point operations of ``module(inputs)``, on whatever device they are.

    A multiply-add is two operations. Counted are matrix products, convolutions and attention, as
    `torch.utils.flop_counter` knows them; normalisations, activations, pooling and other pointwise work count as
    nothing. Attention counts in full, also where a causal mask lets a kernel skip half of it.
    """
    # The counter knows the matrix products that the MATH backend is made of, but not every fused kernel.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(inputs)
    return int(counter.get_total_flops())
