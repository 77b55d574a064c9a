"""Whole runs, beside plain PyTorch that trains the same networks with the same changes at the same epochs.

The plain program is what somebody would write by hand: a block that holds its seed, one autograd node where the seed
acts without the host noticing, learning rates by a formula, one validation pass in each epoch and one on the test split
at the end. It has no gates, counterfactuals, proofs of isolation, events or files. Both sides read the data; imports
are left out. The stages come from the run's own events.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.comparing import Effort, Row, in_turn
from esper_app.api import execute, list_plugins, resolve_run
from esper_app.configuration.resolve import ResolvedConfig
from esper_blueprint_conv_light.config import ConvLightConfig
from esper_blueprint_conv_light.module import ConvLight
from esper_core.api import Site, Split, Stage
from esper_core.kasmina.sites import confirm_sites
from esper_core.plugins.plugin_set import PluginSet
from esper_host_cnn.cnn import build
from esper_host_cnn.config import CnnConfig
from esper_task_vision import tasks
from esper_task_vision.config import FashionMnistConfig
from esper_task_vision.splits import resident

#: Of a plain pass that measures.
_MEASURED_BATCH = 128

#: For each epoch the changes at its beginning: slot and new stage.
Schedule = Mapping[int, list[tuple[str, Stage]]]


@frozen(kw_only=True)
class Case:
    """A task with its settings.

    Attributes:
        task: its name.
        settings: of the run, as texts.
        targets: of the row without a twin and of that with one.
    """

    task: str
    settings: tuple[str, ...]
    targets: tuple[float, float] = (1.10, 1.08)


CASES = (
    Case(task="digits", settings=()),
    Case(task="fashion-mnist", settings=("task.train_samples=3000", "task.validation_samples=1000", "epochs=10")),
)


def whole_runs(effort: Effort) -> Iterator[Row]:
    """Yield, for each task, a run without a twin and one with it."""
    for case in CASES if not effort.quick else CASES[:1]:
        with TemporaryDirectory() as folder:
            yield from _rows(case, Path(folder), effort)


def _rows(case: Case, folder: Path, effort: Effort) -> Iterator[Row]:
    plugins = list_plugins()
    short = ("epochs=12",) if effort.quick else ()
    alone, beside = (
        resolve_run(case.task, plugins, sets=(*case.settings, *short, f"runs={folder}", f"twin={twin}"))
        for twin in ("none", "epochs")
    )
    schedule = _changes(_run(alone, plugins))
    config = alone.config.tree()
    times = in_turn(
        {
            "run": lambda: _run(alone, plugins),
            "run with twin": lambda: _run(beside, plugins),
            "grown": lambda: Plain(config).train(schedule),
            "twin": lambda: Plain(config).train({}),
        },
        effort.of(7),
        warm_up=effort.of(1, 0),
    )
    for spent in (times.cpu, times.wall):
        pair = [a + b for a, b in zip(spent["grown"], spent["twin"], strict=True)]
        spent["pair"] = pair  # type: ignore[index]
    setting = f"`esper run {' '.join((case.task, *(f'-s {it}' for it in case.settings)))}`"
    plain = "plain PyTorch, the same topology schedule"
    yield times.row(f"whole run, {setting} without twin", "run", "grown", against=plain, target=case.targets[0])
    yield times.row("the same with twin", "run with twin", "pair", against=f"{plain}, and twin", target=case.targets[1])


def _run(resolved: ResolvedConfig, plugins: PluginSet) -> Path:
    with redirect_stdout(StringIO()):
        return execute(resolved, plugins).directory.path


def _changes(run: Path) -> Schedule:
    changes: dict[int, list[tuple[str, Stage]]] = defaultdict(list)
    for text in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(text)
        if event["kind"] == "seed_transition":
            data = event["data"]
            # What happens after an epoch's training is there from the next one on.
            changes[event["epoch"]].append((data["slot"], Stage[data["target"]]))
    return changes


class Plain:
    """Training by hand."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        task = _task(config)
        self.splits = resident(task._read_splits())
        self.config = config
        torch.manual_seed(0)
        channels_last = config["host"].get("channels_last", True)
        host = build(CnnConfig(widths=tuple(config["host"]["widths"]), channels_last=channels_last), task.shape)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = host.module
        sites = confirm_sites(self.model, host.sites, lambda model: model(self.splits.train.inputs[:64]))
        self.blocks = {site.id: GrownBlock(self.model.blocks[index], site, layout) for index, site in enumerate(sites)}
        self.model.blocks = nn.ModuleList(self.blocks.values())
        options = {name: config["optimizer"][name] for name in ("lr", "momentum", "nesterov", "weight_decay")}
        self.optimizer = torch.optim.SGD(self.model.parameters(), **options)
        self.steps = math.ceil(len(self.splits.train.targets) / config["batch_size"])

    def train(self, schedule: Schedule) -> float:
        """Train all epochs and return the loss on the test split."""
        for epoch in range(self.config["epochs"]):
            for slot, stage in schedule.get(epoch, ()):
                self._enter(self.blocks[slot], stage, epoch)
            self.epoch(epoch)
            self._measure(self.splits.validation)
        return self._measure(self.splits.test)

    def epoch(self, number: int) -> None:
        """Train an epoch."""
        self.model.train()
        total = right = 0.0
        for step, (inputs, targets) in enumerate(self._batches()):
            self._set_rates(number * self.steps + step, self.config["epochs"] * self.steps)
            outputs = self.model(inputs)
            loss = cross_entropy(outputs, targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total = total + loss.detach()
            right = right + (outputs.detach().argmax(1) == targets).sum()
        float(total), float(right)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = self.splits.train.inputs, self.splits.train.targets
        for chosen in torch.randperm(len(targets)).split(self.config["batch_size"]):
            yield inputs[chosen], targets[chosen]

    def _enter(self, block: "GrownBlock", stage: Stage, epoch: int) -> None:
        if stage is Stage.TRAINING:
            parameters = block.plant()
            self.optimizer.add_param_group({"params": parameters, "born": epoch * self.steps})
        elif stage is Stage.CULLED:
            planted = block.seed
            block.seed = None
            if planted is not None:
                gone = {*planted.parameters()}
                groups = self.optimizer.param_groups
                groups[:] = [group for group in groups if not gone & {*group["params"]}]
        block.stage = stage

    def _set_rates(self, now: int, end: int) -> None:
        for group in self.optimizer.param_groups:
            born = group.get("born", 0)
            group["lr"] = self.config["optimizer"]["lr"] * 0.5 * (1 + math.cos(math.pi * (now - born) / (end - born)))

    def _measure(self, split: Split) -> float:
        self.model.eval()
        total = right = 0.0
        with torch.no_grad():
            pairs = zip(split.inputs.split(_MEASURED_BATCH), split.targets.split(_MEASURED_BATCH), strict=True)
            for inputs, targets in pairs:
                outputs = self.model(inputs)
                total = total + cross_entropy(outputs, targets, reduction="sum")
                right = right + (outputs.argmax(1) == targets).sum()
        float(right)
        return float(total) / len(split.targets)


def _task(config: Mapping[str, Any]) -> tasks.ImageTask:
    options = {name: value for name, value in config["task"].items() if name != "name"}
    return tasks.digits() if config["task"]["name"] == "digits" else tasks.fashion_mnist(FashionMnistConfig(**options))


class GrownBlock(nn.Module):
    """A block of the host, and perhaps a seed."""

    def __init__(self, block: nn.Module, site: Site, layout: torch.memory_format) -> None:
        super().__init__()
        self.block = block
        self.site = site
        self.layout = layout
        self.seed: ConvLight | None = None
        self.stage = Stage.DORMANT

    def plant(self) -> list[nn.Parameter]:
        """Make a seed and return its parameters."""
        self.seed = ConvLight(self.site, ConvLightConfig()).to(memory_format=self.layout)
        return [*self.seed.parameters()]

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's activation, changed by the seed as its stage says."""
        h = self.block(x)
        if self.seed is None:
            return h
        if self.stage is Stage.TRAINING:
            if not self.training:
                return h
            return StraightThrough.apply(h, self.seed(h.detach()))
        if self.stage is Stage.FOSSILIZED:
            return h + self.seed(h)
        return torch.add(h, self.seed(h.detach()), alpha=0.5)


class StraightThrough(torch.autograd.Function):
    """The value of h, with the gradient for the update as well."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, delta: Tensor) -> Tensor:
        """Return h."""
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient twice."""
        return grad, grad
