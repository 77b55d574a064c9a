"""What happens once or seldom: the start, the costs of seeds, a checkpoint."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.comparing import Effort, Row, Times, in_turn, row_of
from esper_app.execution.checkpoint import Checkpoint, save_checkpoint
from esper_core import grow
from esper_core.leyline.reports import HostState

#: Both programs end at the first step of an optimizer.
_PLAIN = """
import os
import torch
model = torch.nn.Linear(64, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.randn(64, 64)).sum().backward()
optimizer.step()
os._exit(0)
"""
_RUN = """
import os, sys
from torch.optim.optimizer import register_optimizer_step_pre_hook
register_optimizer_step_pre_hook(lambda *_: os._exit(0))
from esper_app.cli import main
sys.argv = ["esper", "run", "digits", "-s", "runs={folder}"]
main()
"""


def start(effort: Effort) -> Iterator[Row]:
    """Yield the start of a run of digits, up to its first step."""
    with TemporaryDirectory() as folder:
        programs = {"run": _RUN.format(folder=folder), "plain": _PLAIN}
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        for turn in range(effort.of(7) + 1):
            for name, code in programs.items():
                taken = _process(("-c", code))
                if turn:
                    spent[name].append(taken)
    times = Times(
        cpu={name: [cpu for cpu, _ in pairs] for name, pairs in spent.items()},
        wall={name: [wall for _, wall in pairs] for name, pairs in spent.items()},
    )
    against = "a script that imports torch and takes one step"
    yield times.row("`esper run digits` until its first step", "run", "plain", against=against, target=1.1)


def _process(arguments: Sequence[str]) -> tuple[float, float]:
    """Run Python, which keeps its bytecode as a user's does, and return its CPU and wall time."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=surroundings)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{arguments[-1]} failed")
    return usage.ru_utime + usage.ru_stime, perf_counter() - began


class Deep(nn.Module):
    """A perceptron with many sites."""

    def __init__(self, sites: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(sites))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch of vectors."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


def limits(effort: Effort) -> Iterator[Row]:
    """Yield `epoch_end` with limits on 48 sites; the first one, which counts what seeds cost, is left out."""
    torch.manual_seed(0)
    model = Deep(sites := effort.of(48, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, targets = torch.randn(4096, 64), torch.randint(0, 10, (4096,))
    rounds = effort.of(15)
    handle = grow(
        model,
        optimizer=optimizer,
        epochs=rounds + 4,
        sites="layers.*",
        policy={"name": "null"},
        settings={"limits": {"max_growth_ratio": 0.5}},
    )

    def train() -> None:
        optimizer.zero_grad()
        cross_entropy(model(inputs[:64]), targets[:64]).backward()
        optimizer.step()

    def validate() -> None:
        model.eval()
        with torch.no_grad():
            for begin in range(0, len(inputs), 512):
                outputs = model(inputs[begin : begin + 512])
                float(cross_entropy(outputs, targets[begin : begin + 512]))
        model.train()

    def end() -> None:
        handle.epoch_end([(inputs, targets)], cross_entropy, train_loss=2.3)

    works = {"train": train, "epoch_end": end, "validation": validate}
    times = in_turn(works, rounds, warm_up=2)
    name = f"`epoch_end` of `grow` with limits, {sites} sites"
    yield times.row(name, "epoch_end", "validation", against="one validation pass", target=1.05)


def checkpoints(effort: Effort) -> Iterator[Row]:
    """Yield time and memory of saving a host of 50 million parameters with its momentum."""
    size = effort.of(1_000_000, 1_000)
    tensors = {f"{kind}/{index}": torch.randn(size) for kind in ("model", "optimizer") for index in range(50)}
    whole = sum(tensor.nbytes for tensor in tensors.values())
    with TemporaryDirectory() as name:
        folder = Path(name)

        def save() -> None:
            # What `capture` does: the training goes on while the copy is written.
            copies = {key: tensor.clone() for key, tensor in tensors.items()}
            state = HostState(tensors=copies, record={})
            save_checkpoint(
                folder / "checkpoints",
                Checkpoint(epoch=1, hosts={"grown": state}, loop={}, policies={}, sequence=0, healthy=True, sinks={}),
                keep=1,
            )

        works = {"checkpoint": save, "torch.save": lambda: torch.save(tensors, folder / "plain")}
        times = in_turn(works, effort.of(7))
        yield times.row(
            "checkpoint of 50 M parameters and momentum", "checkpoint", "torch.save", against="`torch.save`", target=1.2
        )
        # What is copied becomes Python's bytes; tensors' own memory, the captured copy, is not traced.
        tracemalloc.start()
        save()
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    name = "memory of that checkpoint beyond the captured copy"
    yield row_of(name, [held / whole], against="the size of what is saved", target=0.05)
