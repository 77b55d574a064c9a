"""What a seed or a whole network costs, computed on the meta device: no memory, no arithmetic, no random numbers.

A module whose control flow depends on values cannot run there. It is run on real numbers instead, on one sample; where
that does not work either, its cost is not known.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy

import torch
from attrs import field, frozen
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from esper_core.kasmina.probing import probe_arguments
from esper_core.kasmina.slot import on_trial
from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.sites import Site


@frozen(kw_only=True)
class SeedCost:
    """What a seed adds to its host.

    Attributes:
        parameters: number of trainable and frozen parameters.
        forward_flops: floating-point operations of one forward pass for one sample; see `count_flops`. None where they
            cannot be counted.
    """

    parameters: int
    forward_flops: int | None


def seed_cost(build: Callable[[Site], nn.Module], site: Site, *, fed: bool = False) -> SeedCost:
    """Return the cost of the seed that `build` makes for a site, at the site's own sample shape.

    With `fed` the seed takes the input of the site's submodule, where that is known.

    Raises:
        EsperError: E404 if it cannot be built for the site.
    """
    given = [it[:1] for it in probe_arguments(site, 0, torch.empty(()), fed=fed)]
    try:
        with torch.device("meta"):
            module = build(site)
        flops = count_flops(module, *(it.to("meta") for it in given))
        return SeedCost(parameters=parameter_count(module), forward_flops=flops)
    except EsperError:
        raise
    except Exception:  # whatever a third party's module raises where numbers have no values
        return _real_seed_cost(build, site, given)


def _real_seed_cost(build: Callable[[Site], nn.Module], site: Site, given: Sequence[Tensor]) -> SeedCost:
    try:
        with torch.random.fork_rng(devices=[]):
            module = build(site)
    except EsperError:
        raise
    except Exception as error:
        raise EsperError(
            "E404",
            "a seed cannot be built",
            where=f'site "{site.id}"',
            why=f"its blueprint raised {summary(error)}",
            fix="leave the blueprint out of policy.blueprints, or correct it",
        ) from error
    counted = _counted_for_real(module, given)
    return SeedCost(parameters=parameter_count(module), forward_flops=None if counted is None else counted.total)


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


@frozen(kw_only=True)
class ForwardCost:
    """Floating-point operations of one forward pass for one sample; see `count_flops`.

    Attributes:
        total: of the whole pass.
        until: by the name of a submodule, of everything up to its return.
    """

    total: int
    until: Mapping[str, int] = field(factory=dict)


def forward_cost(model: nn.Module, sample: Tensor, paths: Iterable[str] = ()) -> ForwardCost | None:
    """Return the cost of one forward pass of any network for one sample; None where it cannot run.

    Args:
        model: the network; it is left as it is.
        sample: one input, the batch axis left out, where the network is. Its values count only if the network does not
            run on the meta device.
        paths: submodules up to whose return is counted as well.
    """
    paths = [*paths]
    try:
        return _counted(deepcopy(model).to("meta").eval(), [sample.unsqueeze(0).to("meta")], paths)
    except Exception:  # whatever a third party's module raises where numbers have no values
        return _counted_for_real(model, [sample.unsqueeze(0)], paths)


def forward_flops(model: nn.Module, sample: Tensor) -> int | None:
    """Return the total of `forward_cost`; None where it cannot be counted."""
    cost = forward_cost(model, sample)
    return None if cost is None else cost.total


def _counted_for_real(module: nn.Module, inputs: Sequence[Tensor], paths: Sequence[str] = ()) -> ForwardCost | None:
    try:
        with _evaluating(module), torch.random.fork_rng(devices=[inputs[0].device] if inputs[0].is_cuda else []):
            return _counted(module, inputs, paths)
    except Exception:  # a network that does not take a single sample: what it would cost is not known
        return None


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    flags = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for part, training in flags:
            part.training = training


def count_flops(module: nn.Module, *inputs: Tensor) -> int:
    """Return the floating-point operations of ``module(*inputs)``, on whatever device they are.

    A multiply-add is two operations. Counted are matrix products, convolutions and attention, as
    `torch.utils.flop_counter` knows them; normalisations, activations, pooling and other pointwise work count as
    nothing. Attention counts in full, also where a causal mask lets a kernel skip half of it.
    """
    return _counted(module, inputs, ()).total


def _counted(module: nn.Module, inputs: Sequence[Tensor], paths: Sequence[str]) -> ForwardCost:
    until: dict[str, int] = {}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        # The counter knows the matrix products that the MATH backend is made of, but not every fused kernel.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        counter = stack.enter_context(FlopCounterMode(display=False))
        for path in paths:

            def mark(part: nn.Module, args: object, output: object, path: str = path) -> None:
                until[path] = int(counter.get_total_flops())

            stack.callback(module.get_submodule(path).register_forward_hook(mark).remove)
        stack.enter_context(on_trial(module))
        module(*inputs)
    return ForwardCost(total=int(counter.get_total_flops()), until=until)
