"""What adapters are worth, and what is forgotten: a small GPT that knows Python is given C headers later.

A GPT of 4 layers and width 64 on bytes is trained on the standard library once. Then headers arrive, and each arm gets
as many floating-point operations as full fine-tuning takes for `--steps` steps of 8 x 64 bytes: forward passes,
gradients of activations, and gradients of those weights that are trained, of matrix products alone; choosing places
counts too. Each arm chooses among three learning rates by the loss on headers with random seed 100, which measures
nothing else. Printed is the loss in nats on other headers, and on Python, as it was and as it is (forgetting).

    python tests/benchmarks/adapter_worth.py [--headers '/usr/include/**/*.h'] [--steps 250] [--seeds 5] --keep DIR
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from esper_blueprint_block.config import BlockConfig
from esper_blueprint_block.module import Block
from esper_blueprint_lora.adapters import LoraAdapters, RankBudget, ranks_by_energy, weight_energy
from esper_core.api import DataShape, Layout, Site, TaskKind
from esper_host_transformer.config import TransformerConfig
from esper_host_transformer.gpt import build
from esper_task_text.config import TextConfig
from esper_task_text.tasks import text

WIDTH, LAYERS, CONTEXT, BATCH, PARAMETERS = 64, 4, 64, 8, 8192
TUNING, WARMUP, DECAY = 100, 20, 0.2
LINEAR = ["attention.project_in", "attention.project_out", "mlp.project_in", "mlp.project_out"]


@cache
def texts(path: str | None) -> tuple[Tensor, ...]:
    """Return inputs and targets of training and validation; validation is of other files."""
    splits = text(TextConfig(path=path, context=CONTEXT, train_sequences=16_000, validation_sequences=256)).load()
    return splits.train.inputs, splits.train.targets, splits.validation.inputs, splits.validation.targets


def batches(path: str | None, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    inputs, targets, _, _ = texts(path)
    stream = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(inputs), generator=stream).split(BATCH):
            yield inputs[rows], targets[rows]


def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=-100)


@torch.no_grad()
def measured(model: nn.Module, path: str | None) -> float:
    _, _, inputs, targets = texts(path)
    parts = [loss(model, *it).item() for it in zip(inputs.split(64), targets.split(64), strict=True)]
    return statistics.fmean(parts)


def rate_at(share: float, step: int, rate: float) -> float:
    return rate * min(1.0, (step + 1) / WARMUP) * min(1.0, (1.0 - share) / DECAY)


def gpt() -> nn.Module:
    shape = DataShape(kind=TaskKind.TOKENS, input_shape=(CONTEXT,), outputs=257)
    return build(TransformerConfig(layers=LAYERS, heads=4, width=WIDTH), shape).module


def pretrained(keep: Path, steps: int) -> nn.Module:
    """Return the network that knows Python; trained once, and kept."""
    torch.manual_seed(0)
    model, file = gpt(), keep / "python.pt"
    if file.is_file():
        model.load_state_dict(torch.load(file, weights_only=True))
        return model
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    for step, (inputs, targets) in zip(range(steps), batches(None, 0), strict=False):
        optimizer.param_groups[0]["lr"] = rate_at(step / steps, step, 5e-3)
        optimizer.zero_grad()
        loss(model, inputs, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    torch.save(model.state_dict(), file)
    return model


class Grown(nn.Module):
    """A layer with Esper's seed `block` behind it, which adds zero at birth."""

    def __init__(self, layer: nn.Module, number: int) -> None:
        super().__init__()
        shape = (CONTEXT, WIDTH)
        site = Site(id=f"layer{number}", path="x", layout=Layout.BTD, width=WIDTH, sample_shape=shape, causal=True)
        self.layer, self.seed = layer, Block(site, BlockConfig(), layer)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        return h + self.seed(h)


class Behind(nn.Module):
    """A low-rank update of a layer's output, as `lora` has at a site that is no linear layer: it sees nothing else."""

    def __init__(self, layer: nn.Module, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.down, self.up = nn.Linear(WIDTH, rank, bias=False), nn.Linear(rank, WIDTH, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        return h + self.up(self.down(h))


@frozen(kw_only=True)
class Trial:
    """A network that is about to be adapted: what is trained, what was spent on it, and what happens between steps."""

    model: nn.Module
    trained: list[nn.Parameter]
    spent: int = 0
    before_step: Callable[[], None] = lambda: None
    after_step: Callable[[int, torch.optim.Optimizer], None] = lambda step, optimizer: None


def paths() -> list[str]:
    return [f"layers.{layer}.{name}" for layer in range(LAYERS) for name in LINEAR]


def full(model: nn.Module, headers: str, seed: int) -> Trial:
    return Trial(model=model, trained=[*model.parameters()])


def lora(model: nn.Module, headers: str, seed: int) -> Trial:
    adapters = LoraAdapters(model)
    adapters.add("a", paths(), rank=2)
    adapters.activate("a")
    return Trial(model=model, trained=[*adapters.parameters("a")])


def by_energy(model: nn.Module, headers: str, seed: int) -> Trial:
    adapters = LoraAdapters(model)
    stream = batches(headers, seed + 1000)
    looks = [lambda: loss(model, *next(stream)).backward() for _ in range(10)]
    with FlopCounterMode(display=False) as counter:
        ranks = ranks_by_energy(model, weight_energy(model, looks, paths()), PARAMETERS)
    adapters.add("a", paths(), ranks=ranks)
    adapters.activate("a")
    return Trial(model=model, trained=[*adapters.parameters("a")], spent=int(counter.get_total_flops()))


def under_budget(model: nn.Module, headers: str, seed: int) -> Trial:
    """Begins as `lora` does; ranks move every 20 steps, and not after 140 of them."""
    adapters = LoraAdapters(model)
    adapters.add("a", paths(), rank=2)
    adapters.activate("a")
    budget = RankBudget(adapters, "a", PARAMETERS)

    def after(step: int, optimizer: torch.optim.Optimizer) -> None:
        if step % 20 == 19 and step < 140:
            budget.reallocate(optimizer)

    return Trial(model=model, trained=[*adapters.parameters("a")], before_step=budget.observe, after_step=after)


def behind(model: nn.Module, headers: str, seed: int) -> Trial:
    model.requires_grad_(False)
    for number in range(LAYERS):
        model.layers[number] = Behind(model.layers[number], 16)
    return Trial(model=model, trained=[it for it in model.parameters() if it.requires_grad])


def grown(model: nn.Module, headers: str, seed: int, *, frozen_host: bool) -> Trial:
    model.requires_grad_(not frozen_host)
    for number in range(LAYERS):
        model.layers[number] = Grown(model.layers[number], number)
    return Trial(model=model, trained=[it for it in model.parameters() if it.requires_grad])


ARMS: dict[str, tuple[Callable[[nn.Module, str, int], Trial], tuple[float, ...]]] = {
    "LoRA, 16 matrices": (lora, (1e-2, 3e-2, 1e-1)),
    "low rank behind 4 layers": (behind, (1e-2, 3e-2, 1e-1)),
    "full fine-tuning": (full, (1e-3, 3e-3, 1e-2)),
    "grown, host frozen": (lambda *it: grown(*it, frozen_host=True), (1e-3, 3e-3, 1e-2)),
    "grown, host trained": (lambda *it: grown(*it, frozen_host=False), (1e-3, 3e-3, 1e-2)),
    "LoRA, ranks under a budget": (under_budget, (1e-2, 3e-2, 1e-1)),
    "LoRA, places by energy": (by_energy, (1e-2, 3e-2, 1e-1)),
}


def adapted(model: nn.Module, headers: str, arm: str, rate: float, seed: int, budget: float) -> dict[str, float]:
    torch.manual_seed(seed)
    trial = ARMS[arm][0](model, headers, seed)
    size = sum(it.numel() for it in trial.trained)
    optimizer = torch.optim.AdamW(trial.trained, lr=rate, weight_decay=0.0)
    spent, step, each = trial.spent, 0, 0
    for inputs, targets in batches(headers, seed):
        if spent >= budget:
            break
        optimizer.param_groups[0]["lr"] = rate_at(spent / budget, step, rate)
        optimizer.zero_grad()
        if step % 20 == 0:  # ranks that move change what a step costs
            with FlopCounterMode(display=False) as counter:
                loss(trial.model, inputs, targets).backward()
            each = int(counter.get_total_flops())
        else:
            loss(trial.model, inputs, targets).backward()
        params = optimizer.param_groups[0]["params"]
        nn.utils.clip_grad_norm_(params, 1.0)
        trial.before_step()
        optimizer.step()
        trial.after_step(step, optimizer)
        spent, step = spent + each, step + 1
    return {"new": measured(trial.model, headers), "old": measured(trial.model, None), "steps": step, "size": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", default="/usr/include/**/*.h")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--pretrain", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", help="only these, separated by semicolons")
    parser.add_argument("--keep", type=Path, required=True, help="folder of the network and of the runs; goes on there")
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    runs = given.keep / "runs.json"
    known: dict[str, dict[str, float]] = json.loads(runs.read_text()) if runs.is_file() else {}

    def network() -> nn.Module:
        return pretrained(given.keep, given.pretrain)

    model = network()
    before = measured(model, given.headers), measured(model, None)
    print(f"before: {before[0]:.4f} on headers, {before[1]:.4f} on Python", flush=True)
    with FlopCounterMode(display=False) as counter:
        loss(model, *next(batches(given.headers, 0))).backward()
    budget = float(counter.get_total_flops()) * given.steps

    def run(arm: str, rate: float, seed: int) -> dict[str, float]:
        key = f"{arm}|{rate:g}|{seed}"
        if key not in known:
            known[key] = adapted(network(), given.headers, arm, rate, seed, budget)
            runs.write_text(json.dumps(known, indent=1))
            print(key, known[key], flush=True)
        return known[key]

    print(
        "\n| arm | parameters | rate | steps | new text | old text | forgotten |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    for arm in given.arms.split(";") if given.arms else ARMS:
        best = min(ARMS[arm][1], key=lambda rate, arm=arm: run(arm, rate, TUNING)["new"])
        rows = [run(arm, best, seed) for seed in range(given.seeds)]
        new, old = ([row[key] for row in rows] for key in ("new", "old"))
        spread = [statistics.stdev(it) if len(it) > 1 else 0.0 for it in (new, old)]
        means = statistics.fmean(new), statistics.fmean(old)
        steps = round(statistics.fmean(row["steps"] for row in rows))
        print(
            f"| {arm} | {round(rows[0]['size']):,} | {best:g} | {steps} | {means[0]:.4f} ± {spread[0]:.4f} "
            f"| {means[1]:.4f} ± {spread[1]:.4f} | {means[1] - before[1]:+.4f} |"
        )


if __name__ == "__main__":
    main()
