"""Wrong hosts, one for each check."""

import os
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from esper_core.api import DataShape, HostBuild, SiteRequest, TaskKind
from esper_core.specs import Capability, HostSpec, Layout
from esper_testing import HostSubject


class Right(nn.Module):
    """A right host for vectors: two layers, a site behind each; mutants spoil one thing."""

    def __init__(self, data: DataShape) -> None:
        super().__init__()
        self.first = nn.Linear(data.input_shape[0], 8)
        self.second = nn.Linear(8, 8)
        self.head = nn.Linear(8, data.outputs)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.second(self.first(x).tanh()).tanh())


class Squeezes(Right):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).squeeze(0)


class DrawsItsOwnNumbers(Right):
    def __init__(self, data: DataShape) -> None:
        super().__init__(data)
        entropy = torch.Generator().manual_seed(int.from_bytes(os.urandom(4)))
        self.head.weight = nn.Parameter(torch.randn(self.head.weight.shape, generator=entropy))


class FiresTwice(Right):
    def forward(self, x: Tensor) -> Any:
        h = self.first(x).tanh()
        return self.head(self.second(self.second(h)).tanh())


class Detaches(Right):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.second(self.first(x).tanh().detach()).tanh())


class UsesNothingOfIt(Right):
    def forward(self, x: Tensor) -> Any:
        h = self.first(x).tanh()
        return self.head(h + 0 * self.second(h))


class Normalises(Right):
    """Right: the layer behind each site takes any scale out, but what a seed does is more than scaling."""

    def forward(self, x: Tensor) -> Any:
        first = nn.functional.layer_norm(self.first(x), (8,))
        return self.head(nn.functional.layer_norm(self.second(first), (8,)))


class HasUnusedLayer(Right):
    def __init__(self, data: DataShape) -> None:
        super().__init__(data)
        self.unused = nn.Linear(2, 2)


class DropsAlways(Right):
    def forward(self, x: Tensor) -> Any:
        return nn.functional.dropout(super().forward(x), 0.5, training=True)


class CentresBatch(Right):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x - x.mean(dim=0, keepdim=True))


class KeepsStatistics(Right):
    def __init__(self, data: DataShape) -> None:
        super().__init__(data)
        self.norm = nn.BatchNorm1d(data.outputs)

    def forward(self, x: Tensor) -> Any:
        return self.norm(super().forward(x))


class RunsItsChildren(Right):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * len(list(self.children()))


class IsSmallOnMeta(Right):
    def __init__(self, data: DataShape) -> None:
        super().__init__(data)
        if self.head.weight.is_meta:
            self.head = nn.Linear(8, data.outputs, bias=False)


class CopiesToItself(Right):
    def __deepcopy__(self, memo: Any) -> Any:
        return self


class HidesWeights(Right):
    def __init__(self, data: DataShape) -> None:
        super().__init__(data)
        self.scale = torch.rand(data.outputs)

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * self.scale


class Reader(nn.Module):
    """A right host for tokens; its site is causal."""

    def __init__(self, data: DataShape) -> None:
        super().__init__()
        self.embed = nn.Embedding(data.outputs, 8)
        self.first = nn.Linear(8, 8)
        self.head = nn.Linear(8, data.outputs)

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.first(self.mix(self.embed(tokens))).tanh())

    def mix(self, h: Tensor) -> Tensor:
        return h.cumsum(dim=1) / 3


class LooksAhead(Reader):
    def mix(self, h: Tensor) -> Tensor:
        return h + h.mean(dim=1, keepdim=True)


class ScalesInputs(Right):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.mul_(0.5))


class TiresAfterMany(Right):
    calls = 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return super().forward(x) * (0.5 if self.calls > 50 else 1.0)


class KeepsInputs(Right):
    def __init__(self, data: DataShape) -> None:
        super().__init__(data)
        self.seen: list[Any] = []

    def forward(self, x: Tensor) -> Any:
        self.seen.append(x.tolist())
        return super().forward(x)


class NamesLayersBySet(Right):
    def __init__(self, data: DataShape) -> None:
        super().__init__(data)
        self.more = nn.ModuleDict({name: nn.Linear(8, 8) for name in {"a", "b", "c", "d", "e"}})


class HasFixedWidth(Right):
    """Right for the sizes of a test."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x)[..., :64]


class SeesFarNeighbour(Right):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x + (x[32:33].mean() if len(x) > 32 else 0.0))


class LooksFarAhead(Reader):
    def mix(self, h: Tensor) -> Tensor:
        return h + (0.5 * torch.roll(h, -40, dims=1) if h.shape[1] > 64 else 0.0)


def subject(
    host: Any, sites: tuple[str, ...] = ("first", "second"), layout: Layout = Layout.BD, **fields: Any
) -> HostSubject:
    def build(config: None, data: DataShape) -> HostBuild:
        causal = data.kind is TaskKind.TOKENS
        requests = [SiteRequest(path=path, causal=causal) for path in sites]
        return HostBuild(module=host(data), sites=requests)

    return HostSubject(spec=HostSpec(name="mutant", summary="Wrong.", factory=build, layouts={layout}, **fields))


@frozen(kw_only=True)
class Options:
    """Of a host that does not use them."""

    width: int = 8


def optional(host: Any) -> HostSubject:
    spec = HostSpec(name="mutant", summary="Wrong.", factory=Factory(host), layouts={Layout.BD}, config=Options)
    return HostSubject(spec=spec)


@frozen
class Factory:
    """Builds a host; unlike a function in a function it can be sent to another process."""

    host: Any

    def __call__(self, config: Any, data: DataShape) -> HostBuild:
        return HostBuild(module=self.host(data), sites=[SiteRequest(path=path) for path in ("first", "second")])


def sent(host: Any) -> HostSubject:
    return HostSubject(spec=HostSpec(name="mutant", summary="Wrong.", factory=Factory(host), layouts={Layout.BD}))


RIGHT = [subject(Right), sent(Right), subject(Normalises), subject(Reader, ("first",), Layout.BTD)]

MUTANTS = {
    "host-output": [(subject(Squeezes), r"for 1 samples the output is \(5,\)")],
    "host-build-reproducible": [(subject(DrawsItsOwnNumbers), "built with the same random state differ")],
    "host-sites": [
        (subject(FiresTwice), "it fires 2 times"),
        (subject(Right, ("second", "first")), r"declared \['second', 'first'\]"),
        (subject(Right, ()), r"declared \[\]"),
        (subject(Right, ("third",)), "no such submodule"),
    ],
    "host-site-gradient": [(subject(Detaches), "gradient reaches first")],
    "host-parameters-learn": [(subject(HasUnusedLayer), "gradient for unused.bias, unused.weight")],
    "host-forward-deterministic": [(subject(DropsAlways), "in evaluation, forward changed torch's global generator")],
    "host-samples-independent": [(subject(CentresBatch), "alone a sample has other logits")],
    "host-batch-statistics": [
        (subject(KeepsStatistics), "training changes buffers, and batch-statistics is not declared"),
        (subject(Right, capabilities={Capability.BATCH_STATISTICS}), "changes no buffers, and batch-statistics is dec"),
    ],
    "host-causal": [(subject(LooksAhead, ("first",), Layout.BTD), "first is declared causal, and its first 4")],
    "host-carries-seeds": [
        (subject(RunsItsChildren), "none of which holds a seed, the host computes something"),
        (subject(UsesNothingOfIt), "whatever a seed adds at second, the logits stay the same"),
    ],
    "host-cost": [(subject(IsSmallOnMeta), "on the meta device")],
    "host-copies": [(subject(CopiesToItself), "copied, it shares tensors with the original")],
    "host-state-round-trip": [(subject(HidesWeights), "restored from its state dict computes something else")],
    "host-any-data": [(subject(HasFixedWidth), r"for 1 samples of \(7,\) with 96 classes the output is \(1, 64\)")],
    "host-any-batch": [(subject(SeesFarNeighbour), "have other logits among 64")],
    "host-causal-far": [
        (subject(LooksFarAhead, ("first",), Layout.BTD), "first is declared causal, and of 130 positions those before")
    ],
    "component-input-untouched": [(subject(ScalesInputs), "have changed")],
    "component-many-calls": [(subject(TiresAfterMany), "it does something else than in its first use")],
    "component-memory": [(subject(KeepsInputs), "bytes more with each use")],
    "component-processes": [(sent(NamesLayersBySet), "in two processes")],
    "component-options-used": [(optional(Right), "with width = .* all is as with 8")],
}
