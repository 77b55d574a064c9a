"""Whether the network has grown alike in all processes: one row of whole numbers for each, of the same length."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from esper_core.leyline.errors import EsperError
from esper_core.leyline.stages import Stage
from esper_core.tolaria.grower import Grower
from esper_distributed.ranks import Ranks

#: What the numbers of a slot are: its stage, how many seeds it has had, the blueprint in the catalogue, parameters.
_OF_A_SLOT = ("stage", "seeds so far", "blueprint", "parameters")
_HEAD = ("transaction", "epoch", "sites, catalogue and seed", "parameter groups")
_STAGES = [*Stage]
#: By their size in bytes.
_WHOLE_NUMBERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@frozen
class Topology:
    """What has grown in one process.

    Attributes:
        sites: their ids, in order.
        blueprints: the catalogue, in order.
        row: transaction, epoch, digests, and some numbers for each site.
    """

    sites: tuple[str, ...]
    blueprints: tuple[str, ...]
    row: tuple[int, ...]

    @classmethod
    def of(cls, grower: Grower, transaction: int) -> "Topology":
        """Return what has grown, behind a number of transactions."""
        growth = grower.growth
        sites, blueprints = tuple(site.id for site in growth.sites), tuple(growth.seed_factories)
        groups = [
            (group.get("esper_seed"), [tuple(p.shape) for p in group["params"]])
            for group in growth.slot_set.optimizer.param_groups
        ]
        known = (sites, [(site.path, str(site.layout), site.width) for site in growth.sites], blueprints)
        row = [transaction, grower.epoch, _digest([known, growth.planter.seed]), _digest(groups)]
        for name in sites:
            seed = growth.seeds.get(name)
            row += [
                _STAGES.index(growth.stage(name)),
                growth.germinations[name],
                -1 if seed is None else blueprints.index(seed.blueprint),
                sum(p.numel() for p in growth.slot_set.seed_parameters(name)),
            ]
        return cls(sites, blueprints, tuple(row))

    def describe(self, row: Sequence[int]) -> dict[str, str]:
        """Return another process's row in words, by what it is about."""
        told = {
            name: _hexadecimal(value) if value > 1 << 32 else str(value)
            for name, value in zip(_HEAD, row, strict=False)
        }
        width = len(_OF_A_SLOT)
        for index, site in enumerate(self.sites):
            stage, seeds, blueprint, parameters = row[len(_HEAD) + index * width :][:width]
            named = self.blueprints[blueprint] if 0 <= blueprint < len(self.blueprints) else "no seed"
            told[f"slot {site}"] = f"{_STAGES[stage].name} ({named}, seed number {seeds}, {parameters} parameters)"
        return told


def compare(ranks: Ranks, grower: Grower, transaction: int, *, when: str) -> None:
    """Hold what has grown in all processes against each other, by one collective whose shape never changes.

    Raises:
        EsperError: E651 in every process, with the difference in words; E652 if a process does not come.
    """
    mine = Topology.of(grower, transaction)
    # Processes with other sites than the first one's have rows of another length: the digest goes first, and alone.
    heads = ranks.rows(when, [len(mine.row), mine.row[2]])
    if any(head != heads[0] for head in heads):
        raise _diverged(when, [*_unlike([{"sites, catalogue and seed": _hexadecimal(it[1])} for it in heads])])
    rows = ranks.rows(when, mine.row)
    if any(row != rows[0] for row in rows):
        raise _diverged(when, [*_unlike([mine.describe(row) for row in rows])])


def compare_weights(ranks: Ranks, model: nn.Module, *, when: str) -> None:
    """Hold the bits of all parameters against each other, by a sum for each; call it behind `compare`.

    Raises:
        EsperError: E655 in every process, with the parameters that differ; E652 if a process does not come.
    """
    names = [name for name, _ in model.named_parameters()]
    with torch.no_grad():
        sums = [_sum_of_bits(parameter) for parameter in model.parameters()]
    rows = ranks.rows(when, torch.stack(sums).tolist() if sums else [])
    unlike = [name for name, column in zip(names, zip(*rows, strict=True), strict=True) if len({*column}) > 1]
    if unlike:
        more = f" and {len(unlike) - 1} more" if len(unlike) > 1 else ""
        raise EsperError(
            "E655",
            "the weights of a network are not the same in all processes",
            where=when,
            why=f"{unlike[0]}{more} of {len(names)} parameters differ",
            fix="use machines and versions of one kind, change no weights in one process, go on from a saved state",
        )


def _sum_of_bits(tensor: Tensor) -> Tensor:
    kind = _WHOLE_NUMBERS[min(tensor.element_size(), 8)]
    # Along one axis: there only may a view have another number of elements.
    return tensor.detach().contiguous().reshape(-1).view(kind).sum(dtype=torch.int64)


def _unlike(told: Sequence[dict[str, str]]) -> Iterator[str]:
    for name in told[0]:
        values: dict[str, list[str]] = {}
        for rank, one in enumerate(told):
            values.setdefault(one[name], []).append(str(rank))
        if len(values) > 1:
            yield f"{name}: " + ", but ".join(f"{value} in rank {' '.join(found)}" for value, found in values.items())


def _diverged(when: str, differences: Sequence[str]) -> EsperError:
    return EsperError(
        "E651",
        "the network has not grown alike in all processes",
        where=when,
        why="; ".join(differences),
        fix="let nothing but the policy change seeds, give all processes the same arguments, go on from a saved state",
    )


def _digest(value: Any) -> int:
    return int.from_bytes(sha256(repr(value).encode()).digest()[:8], "big") >> 1


def _hexadecimal(value: int) -> str:
    return f"{value:016x}"
