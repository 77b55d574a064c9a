"""What counterfactuals cost, in plain passes: prints figures for 1, 2 and 3 seeds beside the bound of the prefix tree.

A plain pass is one forward pass of the same grown network over the same samples, with nothing measured, at the batch
size at which that is fastest. The network is the host `cnn` with blocks of 8, 16 and 32 channels on 28x28 images and
seeds of `conv-light` behind its first K blocks, in one thread. Each round times everything once, in CPU time, so that a
busy moment of the machine falls on all of it; shown are the median over the rounds and the quartiles.

    python tests/benchmarks/counterfactual_cost.py [--rounds 15] [--samples 1024] [--pool 3] [--batch-sizes 64,512]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, combinations, pairwise

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from esper_blueprint_conv_light.config import ConvLightConfig
from esper_blueprint_conv_light.module import ConvLight
from esper_core.api import DataShape, Split, TaskKind
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.measuring import Setting, measure
from esper_host_cnn.cnn import build
from esper_host_cnn.config import CnnConfig

WIDTHS = (8, 16, 32)
#: Batch sizes among which a plain pass takes its fastest.
PLAIN_BATCHES = (64, 128, 256, 512)


class Classes:
    """Losses of a classification task."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) == targets).float()


def grown_network(seeds: int, pool: int) -> SlotSet:
    """Return the host with probationary seeds behind its first blocks, whose gains are not zero."""
    torch.manual_seed(0)
    shape = DataShape(kind=TaskKind.IMAGES, input_shape=(1, 28, 28), outputs=10)
    host = build(CnnConfig(widths=WIDTHS, pool=pool), shape)
    model = prepare_root(host.module)
    sites = confirm_sites(model, host.sites, lambda m: m(torch.randn(2, 1, 28, 28)))
    slot_set = SlotSet(model, sites, torch.optim.SGD(model.parameters(), lr=0.1))
    for site in sites[:seeds]:
        seed = ConvLight(site, ConvLightConfig())
        nn.init.constant_(seed.gain.gain, 0.3)
        problem = slot_set.plant(site, site.id, seed, stream=0, random=False, learning_rate=0.1)
        assert not problem, problem
        slot = slot_set.attach(site)
        slot.enter(ForwardMode.ISOLATED)
        slot.set_alpha(1.0)
    model.eval()
    return slot_set


def leave_one_out(slots: Sequence[str]) -> list[Setting]:
    return [{slot: 0.0} for slot in slots]


def all_subsets(slots: Sequence[str]) -> list[Setting]:
    kept = chain.from_iterable(combinations(slots, size) for size in range(len(slots)))
    return [{name: 0.0 for name in slots if name not in present} for present in kept]


def plain_pass(model: nn.Module, inputs: Tensor, batch_size: int) -> None:
    with torch.no_grad():
        for batch in inputs.split(batch_size):
            model(batch)


def tree_bound(slot_set: SlotSet, settings: Sequence[Setting], sample: Tensor) -> float:
    """Return the floating-point operations of the prefix tree over those of a plain pass.

    Each stretch of the host between two slots counts once for every distinct prefix of settings in front of it, each
    seed once for every distinct prefix for which some setting wants it.
    """
    stretches, seeds = _operations(slot_set, sample)
    slots = list(slot_set.slots)
    branches = [tuple(setting.get(slot, 1.0) for slot in slots) for setting in [{}, *settings]]
    total = sum(stretch * len({b[:index] for b in branches}) for index, stretch in enumerate(stretches))
    total += sum(seed * len({b[:index] for b in branches if b[index]}) for index, seed in enumerate(seeds))
    return total / (sum(stretches) + sum(seeds))


def _operations(slot_set: SlotSet, sample: Tensor) -> tuple[list[int], list[int]]:
    """Count the host's operations up to each slot and behind the last one, and those of each seed."""
    marks, handles = [0], []
    with torch.no_grad(), FlopCounterMode(display=False) as counter:

        def mark(*_: object) -> None:
            marks.append(counter.get_total_flops())

        for slot in slot_set.slots.values():
            handles += [slot.seed.register_forward_pre_hook(mark), slot.seed.register_forward_hook(mark)]
        slot_set.model(sample)
        mark()
    for handle in handles:
        handle.remove()
    steps = [after - before for before, after in pairwise(marks)]
    return steps[0::2], steps[1::2]


def timed(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def rounds_of(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time everything once per round; the first round does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = timed(work)
            if number:
                seconds[name].append(spent)
    return seconds


def spread(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:5.2f} ({low:.2f}-{high:.2f})"


@frozen(kw_only=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        split: the samples.
        rounds: how often everything is timed.
        pool: how many blocks of the host end in a pool.
        batch_size: of the forked passes; None for the default of `measure`.
    """

    split: Split
    rounds: int
    pool: int
    batch_size: int | None

    def rows(self, seeds: int) -> Iterator[list[str]]:
        """Yield the table's rows for a network with this many seeds."""
        slot_set = grown_network(seeds, self.pool)
        sets = {"leave one out": leave_one_out([*slot_set.slots]), "all subsets": all_subsets([*slot_set.slots])}
        if seeds == 1:
            del sets["all subsets"]
        seconds = rounds_of(self._works(slot_set, sets), self.rounds)
        plain = min(statistics.median(seconds[f"plain {size}"]) for size in PLAIN_BATCHES)
        nothing = spread([value / plain for value in seconds["no settings"]])
        for name, settings in sets.items():
            bound = tree_bound(slot_set, settings, self.split.inputs[:2])
            forked, naive = ([value / plain for value in seconds[key]] for key in (name, f"{name}, naive"))
            ratio = f"{statistics.median(forked) / bound:.2f}"
            yield [f"{seeds}, {name}", spread(forked), f"{bound:.2f}", ratio, spread(naive), nothing]

    def _works(self, slot_set: SlotSet, sets: Mapping[str, Sequence[Setting]]) -> dict[str, Callable[[], object]]:
        forks, separate = ForkMap(), ForkMap(fixed_batch=True)
        run = partial(measure, slot_set, Classes(), self.split)
        works: dict[str, Callable[[], object]] = {
            f"plain {size}": partial(plain_pass, slot_set.model, self.split.inputs, size) for size in PLAIN_BATCHES
        }
        works["no settings"] = run
        for name, settings in sets.items():
            works[name] = partial(run, settings, forks=forks, batch_size=self.batch_size)
            works[f"{name}, naive"] = partial(run, settings, forks=separate)
        return works


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--pool", type=int, default=2, help="how many blocks of the host end in a pool")
    parser.add_argument("--batch-sizes", default="", help="batch sizes to try; the default of `measure` if none")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(arguments.samples, 1, 28, 28, generator=generator)
    targets = torch.randint(0, 10, (arguments.samples,), generator=generator)
    for size in [int(text) for text in arguments.batch_sizes.split(",") if text] or [None]:
        print(f"\nbatch size: {size or 'default'}; plain passes, median (quartiles)\n")
        print("| seeds, settings | forked | bound | forked / bound | naive | no settings |\n|---|---|---|---|---|---|")
        comparison = Comparison(
            split=Split(inputs=inputs, targets=targets), rounds=arguments.rounds, pool=arguments.pool, batch_size=size
        )
        for seeds in range(1, len(WIDTHS) + 1):
            for row in comparison.rows(seeds):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
