"""Several hosts at once in worker processes, beside the same hosts trained by hand, one after the other.

The hosts are those of digits with widths 4, 8, 8, a seed in TRAINING in each of their three slots. What is done by hand
is training and one validation pass; the workers also judge, count, and capture states to restart from. By hand once as
well as it can be done, and once as it often is: the images as they come, and a `DataLoader` for each host. By hand
torch may use two threads, each worker has one. Only wall time says something, and only where two processors are free.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from bench.comparing import Effort, Row, row_of
from bench.whole_runs import Plain
from esper_app.api import load_plugins, resolve_run
from esper_app.execution.assembly import assemble
from esper_app.execution.host_builder import RunHostBuilder
from esper_core.api import Action, Blend, HostReport, Op, Split, Stage

HOSTS, THREADS = 4, 2
_SETTINGS = ("executor.name=processes", "host.widths=[4,8,8]")


def hosts(effort: Effort) -> Iterator[Row]:
    """Yield the wall time of an epoch of four hosts over that of each way by hand."""
    rounds = effort.of(9)
    with _workers(rounds + 2) as workers:
        config = workers.config | {"host": dict(workers.config["host"])}
        ways: dict[str, Callable[[], object]] = {
            "processes": workers.epoch,
            "well": _ByHand(Plain, config).epoch,
            "plainly": _ByHand(_WithLoader, config | {"host": config["host"] | {"channels_last": False}}).epoch,
        }
        walls: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, way in ways.items():
                began = perf_counter()
                way()
                if turn:  # in the first epoch caches are filled
                    walls[name].append(perf_counter() - began)
    for name, against, target in (
        ("well", "by hand one after the other, resident, channels_last, 2 threads", 1 / 1.6),
        ("plainly", "the same with a `DataLoader` each, NCHW", 1 / 2.5),
    ):
        ratios = [a / b for a, b in zip(walls["processes"], walls[name], strict=True)]
        yield row_of(
            f"epoch of {HOSTS} hosts with 3 seeds each, two workers, wall time", ratios, against=against, target=target
        )


class _Workers:
    def __init__(self, epochs: int) -> None:
        plugins = load_plugins()
        self._assembly = assemble(
            resolve_run("digits", plugins, sets=(*_SETTINGS, f"epochs={epochs + 20}")).config, plugins
        )
        self.config = self._assembly.config.tree()
        self.executor = self._assembly.executor(RunHostBuilder.of(plugins, self._assembly))
        self._reports = self.executor.open([self._assembly.plan(f"host{index}", index) for index in range(HOSTS)])

    def epoch(self) -> None:
        """Train every host for an epoch; in the first one seeds are germinated."""
        self.executor.apply([_germinations(report) for report in self._reports])
        self._reports = self.executor.epoch([None] * HOSTS)


@contextmanager
def _workers(epochs: int) -> Iterator[_Workers]:
    workers = _Workers(epochs)
    try:
        yield workers
    finally:
        workers.executor.close()


def _germinations(report: HostReport) -> list[Action]:
    return [
        Action(id=f"{report.host}/{slot}", op=Op.GERMINATE, slot=slot, blueprint="conv-light", blend=Blend.LINEAR)
        for slot in report.masks.germinate
        if report.epoch == 0
    ]


class _ByHand:
    """The same hosts, trained one after the other in this process."""

    def __init__(self, way: type[Plain], config: dict[str, object]) -> None:
        self._hosts = [way(config) for _ in range(HOSTS)]
        for host in self._hosts:
            for block in host.blocks.values():
                host._enter(block, Stage.TRAINING, 0)

    def epoch(self) -> None:
        """Train and measure every host once."""
        before = torch.get_num_threads()
        torch.set_num_threads(THREADS)
        for host in self._hosts:
            host.epoch(0)
            host._measure(host.splits.validation)
        torch.set_num_threads(before)


class _WithLoader(Plain):
    """Images as they come, shuffled and collated one by one."""

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(self._loader(self.splits.train, self.config["batch_size"], shuffle=True))

    def _measure(self, split: Split) -> float:
        self.model.eval()
        total = 0.0
        with torch.no_grad():
            for inputs, targets in self._loader(split, 128, shuffle=False):
                total += float(cross_entropy(self.model(inputs), targets, reduction="sum"))
        return total / len(split.targets)

    def _loader(self, split: Split, size: int, *, shuffle: bool) -> DataLoader[tuple[torch.Tensor, ...]]:
        inputs = split.inputs.contiguous()
        return DataLoader(TensorDataset(inputs, split.targets), batch_size=size, shuffle=shuffle)
