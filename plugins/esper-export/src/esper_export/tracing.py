"""A seed in terms of torch alone: its computation, traced down to torch's own modules, functions and parameters."""

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from esper_core.kasmina.probing import agree

_SEED = "seed"

#: Functions from elsewhere would have to be imported where the trace is unpickled.
_EVERYWHERE = ("torch", "math", "_operator", "operator", "builtins")


class UntraceableError(Exception):
    """A module's computation cannot be written down as one sequence of operations; the message says why."""


def is_torch_only(module: nn.Module) -> bool:
    """Say whether the module and everything in it are of torch's own classes."""
    return all(type(part).__module__.partition(".")[0] == "torch" for part in module.modules())


def traced(seed: nn.Module, probe: Tensor) -> fx.GraphModule:
    """Return a module that computes what the seed computes and is made of torch's own classes.

    Modules of torch stay modules, under the names that they had; everything around them becomes the code of one
    forward. The parameters are the seed's own, so what is returned can be trained on.

    Args:
        seed: a seed module; its training flags are put back.
        probe: an activation, to compare the two on.

    Raises:
        UntraceableError: if the seed's code depends on values, shapes or the training flag, or computes something else
            than its trace.
    """
    flags = [(module, module.training) for module in seed.modules()]
    try:
        seed.train()
        training = _trace(seed)
        seed.eval()
        evaluating = _trace(seed)
        if training.code != evaluating.code:
            raise UntraceableError("it computes something else in training than in evaluation")
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            if not agree(seed(probe), evaluating(probe)):
                raise UntraceableError("its trace computes something else")
    finally:
        for module, flag in flags:
            module.training = flag
    evaluating.train(seed.training)
    return evaluating


class _Tracer(fx.Tracer):
    """Traces the parts of a split as well: how many there are is written in the call."""

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        node = obj.node
        if node.op == "call_method" and node.target == "chunk":
            count = node.args[1] if len(node.args) > 1 else node.kwargs.get("chunks")
            if isinstance(count, int):
                return iter([operator.getitem(obj, index) for index in range(count)])
        return super().iter(obj)


class _Shell(nn.Module):
    """Calls the seed as a slot does, with the activation alone: what is optional has its default."""

    def __init__(self, seed: nn.Module) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, h: Tensor) -> Any:
        return self.seed(h)


def _trace(seed: nn.Module) -> fx.GraphModule:
    shell = _Shell(seed)
    try:
        with torch.random.fork_rng(devices=[]):
            found = _Tracer().trace(shell)
    except Exception as error:  # tracing runs a third party's code on stand-ins for tensors: anything may come of it
        raise UntraceableError(f"{type(error).__name__}: {_first_line(error)}") from error
    # A graph that knew its tracer could not be unpickled where Esper is not installed.
    graph = fx.Graph()
    graph.output(graph.graph_copy(found, {}))
    parts: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "call_function" and _home(node.target) not in _EVERYWHERE:
            raise UntraceableError(f"it calls {node.target.__module__}.{node.target.__name__}")
        if node.op in ("get_attr", "call_module"):
            part = operator.attrgetter(node.target)(shell)
            node.target = node.target.removeprefix(f"{_SEED}.")
            parts[node.target] = part
    graph.lint()
    return fx.GraphModule(parts, graph, class_name="Seed")


def _home(function: Any) -> str:
    # Torch's own built-in functions say of no module that it is theirs.
    return (getattr(function, "__module__", None) or "torch").partition(".")[0]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
