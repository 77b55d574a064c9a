"""Training steps, by what the slots hold, beside the bare host and the best that can be written by hand.

The host has three blocks of 8, 16 and 32 channels on 3x32x32 images in channels_last, batch 128, SGD with momentum. By
hand, a seed is called in the block and its update is added with one autograd node; there is no guard.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.comparing import Effort, Row, Work, in_turn
from bench.whole_runs import GrownBlock
from esper_blueprint_conv_light.config import ConvLightConfig
from esper_blueprint_conv_light.module import ConvLight
from esper_core.api import Site, SiteRequest, Stage
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_core.nn import group_count

WIDTHS, BATCH = (8, 16, 32), 128

#: How a seed acts in each stage.
_MODES = {
    Stage.TRAINING: ForwardMode.STRAIGHT_THROUGH,
    Stage.BLENDING: ForwardMode.ISOLATED,
    Stage.FOSSILIZED: ForwardMode.FOSSIL,
}
_TARGETS = {Stage.TRAINING: 1.03, Stage.BLENDING: 1.03, Stage.FOSSILIZED: 1.03}


class Host(nn.Module):
    """Three blocks of convolution, group normalisation, ReLU and pooling; a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1, bias=False), nn.GroupNorm(group_count(b), b), nn.ReLU(), nn.MaxPool2d(2)
            )
            for a, b in zip((3, *WIDTHS), WIDTHS, strict=False)
        )
        self.head = nn.Linear(WIDTHS[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=(2, 3)))


def steps(effort: Effort) -> Iterator[Row]:
    """Yield the rows."""
    inputs = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 10, (BATCH,))
    make = partial(_step, inputs=inputs, targets=targets)
    works: dict[str, Work] = {"bare": make(lambda host: host), "dormant": make(_dormant)}
    for count in (1, 3):
        for stage in _MODES:
            works[f"{count} {stage}"] = make(partial(_grown, inputs=inputs, count=count, stage=stage))
            works[f"{count} {stage} by hand"] = make(partial(_by_hand, inputs=inputs, count=count, stage=stage))
    times = in_turn(works, effort.of(60), warm_up=effort.of(3, 1))
    yield times.row("step with 3 dormant slots", "dormant", "bare", against="bare step", target=1.02)
    for count in (1, 3):
        for stage, target in _TARGETS.items():
            name = f"step with {count} seed{'s' * (count > 1)} {stage.name}"
            work = f"{count} {stage}"
            yield times.row(name, work, f"{work} by hand", against="best hand-written", target=target)


def _step(grow: Callable[[nn.Module], nn.Module], *, inputs: Tensor, targets: Tensor) -> Work:
    torch.manual_seed(0)
    model = grow(Host().to(memory_format=torch.channels_last))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return step


def _sites(model: nn.Module, inputs: Tensor) -> tuple[Site, ...]:
    requests = [SiteRequest(path=f"blocks.{index}", id=f"block{index}") for index in range(len(WIDTHS))]
    return tuple(confirm_sites(model, requests, lambda it: it(inputs)))


def _dormant(host: nn.Module) -> nn.Module:
    return prepare_root(host)


def _grown(host: nn.Module, *, inputs: Tensor, count: int, stage: Stage) -> nn.Module:
    model = prepare_root(host)
    # The optimizer that takes the steps is built from all parameters afterwards.
    slot_set = SlotSet(model, sites := _sites(model, inputs), torch.optim.SGD(model.parameters(), lr=0.01))
    for site in sites[:count]:
        seed = ConvLight(site, ConvLightConfig())
        slot_set.plant(site, site.id, seed, 0, random=False, learning_rate=0.01)
        slot = slot_set.attach(site)
        slot.enter(_MODES[stage])
        slot.set_alpha(0.5)
    return model


def _by_hand(host: nn.Module, *, inputs: Tensor, count: int, stage: Stage) -> nn.Module:
    for index, site in enumerate(_sites(host, inputs)[:count]):
        block = GrownBlock(host.blocks[index], site, torch.channels_last)
        block.plant()
        block.stage = stage
        host.blocks[index] = block
    return host
