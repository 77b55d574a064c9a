"""A submodule together with the seed behind it, as one module that takes the submodule's place."""

import inspect
import operator
from collections.abc import Iterable
from typing import Any

from torch import fx, nn

from esper_core.kasmina.masking import given_mask, mask_position
from esper_core.kasmina.outputs import replace, select
from esper_core.leyline.errors import EsperError

_LITERALS = (bool, int, float, str, type(None))


class ResidualModule(nn.Module):
    """Calls a submodule and adds the update of a seed to its output.

    For submodules whose arguments cannot be listed, and for seeds that take a padding mask or the input; see `grown`.
    What is asked of it beyond a call is answered by the submodule, as if that still stood in its place.

    Args:
        host: the submodule.
        seed: computes the update.
        output: tuple index or mapping key of the tensor in the submodule's output.
        mask: name or position of the submodule's argument with the mask that the seed takes; None: it takes none.
        whole: the seed looks at other positions, so that a cache of decoding must not keep any from it.
        fed: the seed takes the submodule's input.
    """

    def __init__(
        self,
        host: nn.Module,
        seed: nn.Module,
        output: int | str | None,
        mask: int | str | None = None,
        *,
        whole: bool = False,
        fed: bool = False,
    ) -> None:
        super().__init__()
        self.host = host
        self.seed = seed
        self.output = output
        self.mask = mask
        self.whole, self.fed = whole, fed
        self.mask_position = None if mask is None else mask_position(host, mask)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the submodule's output, grown. Raises EsperError E512 for part of a sequence, the rest in a cache."""
        output = self.host(*args, **kwargs)
        h = select(output, self.output)
        if self.whole:
            _refuse_part((*args, *kwargs.values()), h.shape[1])
        if self.fed:
            given: tuple[Any, ...] = (h, args[0] if args else next(iter(kwargs.values())))
            return replace(output, self.output, h + self.seed(*given).type_as(h))
        given = (h,) if self.mask is None else (h, given_mask(self.mask, self.mask_position, args, kwargs, h))
        return replace(output, self.output, h + self.seed(*given).type_as(h))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("host"), name)


def _refuse_part(given: Iterable[Any], positions: int) -> None:
    """A cache of transformers knows how many positions there are by now; the submodule has put its own in already."""
    for cache in given:
        length = getattr(cache, "get_seq_length", None)
        if callable(length) and int(length()) > positions:
            raise EsperError(
                "E512",
                "this network cannot decode with a cache",
                where="use_cache",
                why=f"a seed that has become a part of it looks at all {int(length())} positions, and is shown "
                f"{positions}: the others are in the cache",
                fix="call it, or its generate(), with use_cache=False",
            )


def residual_module(
    host: nn.Module,
    seed: nn.Module,
    output: int | str | None,
    mask: int | str | None = None,
    *,
    whole: bool = False,
    fed: bool = False,
) -> nn.Module:
    """Return a module that calls `host` and adds the seed's update of its output.

    It is a `torch.fx.GraphModule` with the arguments of `host`, which can be unpickled where Esper is not installed;
    a `ResidualModule` where the arguments cannot be listed (``*args``, ``**kwargs``, defaults that are no literals),
    where a cache is to be refused, or where the seed takes a mask, which comes in several forms and may be missing: no
    graph branches on that. Where the
    activation is an element of a tuple, the graph module returns a plain tuple; where it is the value of a mapping,
    the mapping must know ``|``.

    Args:
        host: the submodule.
        seed: computes the update.
        output: tuple index or mapping key of the tensor in the submodule's output.
        mask: name or position of the argument with the mask that the seed takes; None: it takes none.
        whole, fed: see `ResidualModule`.
    """
    parameters = inspect.signature(host.forward).parameters.values()
    if mask is not None or whole or fed or not all(map(_can_be_listed, parameters)):
        module: nn.Module = ResidualModule(host, seed, output, mask, whole=whole, fed=fed)
    else:
        module = fx.GraphModule(
            {"host": host, "seed": seed}, _graph([*parameters], output), class_name="ResidualModule"
        )
    module.training = host.training
    return module


def _can_be_listed(parameter: inspect.Parameter) -> bool:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    if parameter.default is parameter.empty:
        # Behind parameters with defaults it could not be written down.
        return parameter.kind is not parameter.KEYWORD_ONLY
    return isinstance(parameter.default, _LITERALS)


def _graph(parameters: list[inspect.Parameter], output: int | str | None) -> fx.Graph:
    graph = fx.Graph()
    given = {p.name: graph.placeholder(p.name, default_value=p.default) for p in parameters}
    by_name = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    args = tuple(node for name, node in given.items() if name not in by_name)
    out = graph.call_module("host", args, {name: given[name] for name in given if name in by_name})
    h = out if output is None else graph.call_function(operator.getitem, (out, output))
    update = graph.call_method("type_as", (graph.call_module("seed", (h,)), h))
    graph.output(_put_back(graph, out, output, graph.call_function(operator.add, (h, update))))
    return graph


def _put_back(graph: fx.Graph, out: fx.Node, output: int | str | None, grown: fx.Node) -> fx.Node:
    if output is None:
        return grown
    if isinstance(output, str):
        return graph.call_function(operator.or_, (out, {output: grown}))
    before = graph.call_function(operator.getitem, (out, slice(None, output)))
    head = graph.call_function(operator.add, (before, (grown,)))
    if output == -1:
        return head
    after = graph.call_function(operator.getitem, (out, slice(output + 1, None)))
    return graph.call_function(operator.add, (head, after))
