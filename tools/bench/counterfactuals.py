"""What counterfactuals cost, in plain passes over the validation data.

A plain pass is one forward pass of the same grown network over the same samples, with nothing measured, at the batch
size at which that is fastest. The network is the host `cnn` with seeds of `conv-light` behind its blocks, whose gains
are not zero, on 1x28x28 noise (seed 1), 1024 samples, in one thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, combinations, pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from bench.comparing import Effort, Row, Work, in_turn
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
        """Return the cross entropy of each sample."""
        return cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return which samples are right."""
        return (outputs.argmax(-1) == targets).float()


def grown_network(widths: Sequence[int], seeds: int) -> SlotSet:
    """Return the host with probationary seeds behind its first blocks, whose gains are not zero."""
    torch.manual_seed(0)
    shape = DataShape(kind=TaskKind.IMAGES, input_shape=(1, 28, 28), outputs=10)
    host = build(CnnConfig(widths=tuple(widths), pool=2), shape)
    model = prepare_root(host.module)
    sites = confirm_sites(model, host.sites, lambda model: model(torch.randn(2, 1, 28, 28)))
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
    """Return the settings without one seed each."""
    return [{slot: 0.0} for slot in slots]


def all_subsets(slots: Sequence[str]) -> list[Setting]:
    """Return the settings of all subsets of the seeds but the full one."""
    kept = chain.from_iterable(combinations(slots, size) for size in range(len(slots)))
    return [{name: 0.0 for name in slots if name not in present} for present in kept]


def plain_pass(model: nn.Module, inputs: Tensor, batch_size: int) -> None:
    """Run the network over all samples."""
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


def counterfactuals(effort: Effort) -> Iterator[Row]:
    """Yield the rows for three seeds, and for 24 of them; the latter in units of the prefix tree's bound."""
    split = _noise(effort.of(1024, 16))
    slot_set = grown_network(WIDTHS, 3)
    sets = {"all 8 subsets": all_subsets([*slot_set.slots]), "leave one out": leave_one_out([*slot_set.slots])}
    works = _works(slot_set, sets, split)
    times = in_turn(works, effort.of(15))
    plain = times.fastest([name for name in works if name.startswith("plain")])
    for name, target in (("all 8 subsets", 1.75), ("leave one out", 1.6)):
        bound = tree_bound(slot_set, sets[name], split.inputs[:2])
        against = f"{plain} pass; the prefix tree's bound is {bound:.2f}"
        yield times.row(f"counterfactuals, 3 seeds, {name}", name, plain, against=against, target=target)
    yield _many(effort)


def _many(effort: Effort) -> Row:
    split, live = _noise(effort.of(128, 16)), effort.of(24, 4)
    slot_set = grown_network([8] * 2 * live, live)
    sets = {"leave one out": leave_one_out([*slot_set.slots])}
    bound = tree_bound(slot_set, sets["leave one out"], split.inputs[:2])
    works = _works(slot_set, sets, split)
    times = in_turn(works, effort.of(5))
    plain = times.fastest([name for name in works if name.startswith("plain")])
    name = f"counterfactuals, {live} of {2 * live} sites live, leave one out"
    return times.row(name, "leave one out", plain, against=f"{plain} pass", target=1.05 * bound)


def _noise(samples: int) -> Split:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, 1, 28, 28, generator=generator)
    return Split(inputs=inputs, targets=torch.randint(0, 10, (samples,), generator=generator))


def _works(slot_set: SlotSet, sets: Mapping[str, Sequence[Setting]], split: Split) -> dict[str, Work]:
    works: dict[str, Work] = {
        f"plain {size}": partial(plain_pass, slot_set.model, split.inputs, size) for size in PLAIN_BATCHES
    }
    forks = ForkMap()
    return works | {
        name: partial(measure, slot_set, Classes(), split, settings, forks=forks) for name, settings in sets.items()
    }
