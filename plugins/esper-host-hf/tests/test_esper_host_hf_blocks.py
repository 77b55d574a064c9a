"""How the list of blocks is told from other lists, in networks written for it."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from esper_core.api import EsperError, SiteRequest
from esper_host_hf.blocks import find_blocks
from esper_host_hf.probing import Probe, draw_tokens, probe_size

Mix = Callable[[Tensor], Tensor]

WIDTH, VOCABULARY, LENGTH = 6, 11, 8


class Block(nn.Module):
    """Mixes positions, and has more experts in it than the network has blocks."""

    def __init__(self, mix: Mix, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.mix, self.wrap = mix, wrap
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(5))

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.mix(x) + sum(expert(x) for expert in self.experts))


class Net(nn.Module):
    def __init__(self, mix: Mix, wrap: Callable[[Tensor], Any], unwrap: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.unwrap = unwrap
        self.unused = nn.ModuleList(nn.Linear(99, 99) for _ in range(9))
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.parts = nn.ModuleList(Block(mix, wrap) for _ in range(2))
        self.order = [0, 1]

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        for index in self.order:
            x = self.unwrap(self.parts[index](x))
        return x


def same(x: Any) -> Any:
    return x


def net(
    mix: Mix = torch.zeros_like, wrap: Callable[[Tensor], Any] = same, unwrap: Callable[[Any], Tensor] = same
) -> Net:
    torch.manual_seed(0)
    return Net(mix, wrap, unwrap)


def found(network: nn.Module, length: int = LENGTH) -> tuple[SiteRequest, ...]:
    size = probe_size(length)
    tokens, altered, split = draw_tokens(size, length, VOCABULARY, None)
    return find_blocks(network, network, Probe(inputs=tokens, altered=altered, size=size, split=split))


def test_neither_experts_nor_what_never_runs_are_blocks() -> None:
    assert [(site.path, site.id) for site in found(net())] == [("parts.0", "block0"), ("parts.1", "block1")]


@pytest.mark.parametrize(
    ("wrap", "unwrap", "output"),
    [
        (same, same, None),
        (lambda x: (x, None), lambda out: out[0], 0),
        (lambda x: (torch.ones(3, dtype=torch.int64), x), lambda out: out[1], 1),
        (lambda x: {"mask": None, "states": x}, lambda out: out["states"], "states"),
    ],
)
def test_the_activation_is_found_in_any_output(wrap: Any, unwrap: Any, output: int | str | None) -> None:
    assert [site.output for site in found(net(wrap=wrap, unwrap=unwrap))] == [output, output]


MIXES: Mapping[str, tuple[Mix, bool]] = {
    "nothing": (torch.zeros_like, True),
    "sum of the past": (lambda x: x.cumsum(1), True),
    "one before": (lambda x: x.roll(1, 1).index_fill(1, torch.tensor([0]), 0.0), True),
    "one ahead": (lambda x: x.roll(-1, 1), False),
    "mean": (lambda x: x.mean(1, keepdim=True).expand_as(x), False),
    "a hint of the mean": (lambda x: 1e-3 * x.mean(1, keepdim=True).expand_as(x), False),
    "rounding": (lambda x: 1e-8 * x.mean(1, keepdim=True).expand_as(x), True),
}


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("length", [2, 7, 300])
def test_causal_is_what_does_not_look_ahead(name: str, length: int) -> None:
    mix, causal = MIXES[name]
    assert [site.causal for site in found(net(mix), length)] == [causal, causal]


@pytest.mark.parametrize(
    ("order", "why"),
    [([0, 1, 0], "parts.0 runs 2 times"), ([0], "parts.1 runs 0 times"), ([1, 0], "a different order")],
)
def test_what_does_not_run_once_and_in_order_is_refused(order: list[int], why: str) -> None:
    network = net()
    network.order = order
    del network.unused
    with pytest.raises(EsperError, match=why):
        found(network)


@pytest.mark.parametrize(
    ("wrap", "unwrap"), [(lambda x: x.mT, lambda out: out.mT), (lambda x: x[None], lambda out: out[0])]
)
def test_what_has_another_layout_is_refused(wrap: Any, unwrap: Any) -> None:
    network = net(wrap=lambda x: wrap(x.transpose(0, 1)), unwrap=lambda out: unwrap(out).transpose(0, 1))
    with pytest.raises(EsperError, match="list of blocks"):
        found(network)


def test_a_network_without_lists_is_refused() -> None:
    with pytest.raises(EsperError, match="no list of blocks"):
        found(nn.Embedding(VOCABULARY, WIDTH))
