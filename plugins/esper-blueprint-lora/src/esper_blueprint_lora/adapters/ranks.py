"""Ranks that grow and shrink in training, within a budget of parameters."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from esper_blueprint_lora.adapters.held import LoraAdapters
from esper_blueprint_lora.adapters.layer import LowRank, draw_down
from esper_core.api import EsperError

#: How much of its past an importance keeps with each step that is looked at; AdaLoRA's.
_KEPT = 0.85


@frozen(kw_only=True)
class Reallocated:
    """What a reallocation has changed: ranks that were taken away and added, by path, without those that were not."""

    removed: Mapping[str, int]
    added: Mapping[str, int]


@define
class _Components:
    """The rank-one parts of one update: how important each is, and how many steps of it were looked at."""

    importance: Tensor
    seen: Tensor
    gradient: Tensor | None = field(default=None)


class RankBudget:
    """Moves ranks of an adapter to where they matter, as AdaLoRA does (Zhang et al. 2023, arXiv 2303.10512).

    A component of an update is an outer product u v. To first order the loss changes by ``-<dL/dM, u v>`` when it is
    taken away, which is ``-u * dL/du``; the mean of its absolute value over the steps looked at, older ones with less
    weight, is the component's importance. Unlike in AdaLoRA there are no singular values and no penalty on factors that
    are not orthogonal, and ranks can grow as well. A component is new with u = 0, so growing changes no output at all;
    taking one away does.

    Args:
        adapters: holds the adapter.
        name: the adapter's.
        parameters: how many it may have; it may begin with more, and then shrinks.
        least: no layer's rank becomes less.
        most: no layer's rank becomes more; None: its width.
        exchange: which share of all components may be taken away at once beside what is over the budget.
        grace: components that fewer steps have been looked at of are not taken away for others.

    Raises:
        EsperError: E649 if the budget is too small for the least ranks, or an argument means nothing.
    """

    def __init__(
        self,
        adapters: LoraAdapters,
        name: str,
        parameters: int,
        *,
        least: int = 1,
        most: int | None = None,
        exchange: float = 0.1,
        grace: int = 10,
    ) -> None:
        self._updates = adapters.updates(name)
        self._parameters, self._least, self._most = parameters, least, most
        self._exchange, self._grace = exchange, grace
        needed = sum(min(least, self._limit(it)) * _cost(it) for it in self._updates.values())
        if needed > parameters or least < 0 or (most is not None and most < max(1, least)) or not 0 <= exchange <= 1:
            raise EsperError(
                "E649",
                f"{parameters} parameters are no budget for the ranks of {name}",
                why=f"rank {least} in {len(self._updates)} layers has {needed}; exchange is {exchange}, most {most}",
                fix="raise the budget, or lower the least rank",
            )
        self._known = {path: _fresh(update) for path, update in self._updates.items()}

    def observe(self) -> None:
        """Look at the gradients; call it between ``backward()`` and the optimizer's step."""
        for path, update in self._updates.items():
            known, gradient = self._known[path], update.up.grad
            if gradient is None or not update.rank:
                continue
            effect = (update.up.detach() * gradient).sum(0).abs().float()
            first = known.seen == 0
            known.importance = torch.where(first, effect, _KEPT * known.importance + (1 - _KEPT) * effect)
            known.seen = known.seen + 1

    @property
    def importance(self) -> dict[str, Tensor]:
        """Of each component, (rank,), by path."""
        return {path: it.importance.clone() for path, it in self._known.items()}

    def reallocate(self, optimizer: torch.optim.Optimizer) -> Reallocated:
        """Take the least important components away, and give layers with important ones further ones.

        The optimizer goes on with the new parameters, in their old groups, and with the state of what is kept.

        Raises:
            EsperError: E649 if the optimizer does not train the adapter.
        """
        trained = {id(it) for group in optimizer.param_groups for it in group["params"]}
        if any(id(it) not in trained for update in self._updates.values() for it in update.parameters()):
            raise EsperError(
                "E649",
                "the optimizer does not train this adapter",
                why="its groups lack a factor",
                fix="make it of adapters.parameters(name)",
            )
        keep = {path: [*range(update.rank)] for path, update in self._updates.items()}
        for path, index in self._leaving(keep):
            keep[path].remove(index)
        removed = {path: self._updates[path].rank - len(it) for path, it in keep.items()}
        # Given back in the same breath, it would only forget what it has learned.
        added = self._arriving({path: len(it) for path, it in keep.items()}, removed)
        for path, update in self._updates.items():
            if removed[path] or added[path]:
                self._resize(path, update, keep[path], added[path], optimizer)
        return Reallocated(
            removed={path: it for path, it in removed.items() if it},
            added={path: it for path, it in added.items() if it},
        )

    def _leaving(self, keep: Mapping[str, list[int]]) -> list[tuple[str, int]]:
        """Those that go: the least important for each parameter first, until the budget and the exchange are met."""
        ranks = {path: len(it) for path, it in keep.items()}
        over = sum(ranks[path] * _cost(update) for path, update in self._updates.items()) - self._parameters
        quota = int(self._exchange * sum(ranks.values()))
        rows = [
            (float(self._known[path].importance[index]) / _cost(update), path, index)
            for path, update in self._updates.items()
            for index in keep[path]
        ]
        found: list[tuple[str, int]] = []
        for _, path, index in sorted(rows):
            young = int(self._known[path].seen[index]) < self._grace
            if ranks[path] <= self._least or (over <= 0 and (young or len(found) >= quota)):
                continue
            found.append((path, index))
            ranks[path] -= 1
            over -= _cost(self._updates[path])
        return found

    def _arriving(self, ranks: dict[str, int], removed: Mapping[str, int]) -> dict[str, int]:
        """How many each layer gets: one after the other, to where the mean importance for each parameter is highest."""
        left = self._parameters - sum(ranks[path] * _cost(update) for path, update in self._updates.items())
        added = dict.fromkeys(ranks, 0)
        worth = {
            path: float(self._known[path].importance.mean()) / _cost(update) if update.rank else 0.0
            for path, update in self._updates.items()
        }
        while fits := [
            path
            for path, update in self._updates.items()
            if worth[path] > 0
            and not removed[path]
            and _cost(update) <= left
            and ranks[path] + added[path] < self._limit(update)
        ]:
            best = max(fits, key=lambda path: worth[path] / (1 + added[path]))
            added[best] += 1
            left -= _cost(self._updates[best])
        return added

    def _limit(self, update: LowRank) -> int:
        widest = min(len(update.up), update.down[:1].numel() if update.rank else len(update.up))
        return widest if self._most is None else min(self._most, widest)

    def _resize(self, path: str, update: LowRank, keep: list[int], more: int, optimizer: torch.optim.Optimizer) -> None:
        known, index = self._known[path], torch.tensor(keep, dtype=torch.long, device=update.up.device)
        for name, axis in (("down", 0), ("up", 1)):
            before: nn.Parameter = getattr(update, name)
            after = nn.Parameter(_resized(before.detach(), axis, index, more), requires_grad=before.requires_grad)
            if name == "down" and more:
                draw_down(after.detach()[len(keep) :])
            setattr(update, name, after)
            _replace(optimizer, before, after, axis, index, more)
        known.importance, known.seen = (
            _resized(it, 0, index.to(it.device), more) for it in (known.importance, known.seen)
        )


def _fresh(update: LowRank) -> _Components:
    device = update.up.device
    return _Components(
        importance=torch.zeros(update.rank, device=device),
        seen=torch.zeros(update.rank, dtype=torch.long, device=device),
    )


def _cost(update: LowRank) -> int:
    """Parameters of one component."""
    inputs = 1
    for size in update.down.shape[1:]:
        inputs *= size
    return inputs + len(update.up)


def _resized(tensor: Tensor, axis: int, index: Tensor, more: int) -> Tensor:
    kept = tensor.index_select(axis, index)
    shape = [more if at == axis else size for at, size in enumerate(tensor.shape)]
    return torch.cat([kept, kept.new_zeros(shape)], axis)


def _replace(
    optimizer: torch.optim.Optimizer, before: nn.Parameter, after: nn.Parameter, axis: int, index: Tensor, more: int
) -> None:
    for group in optimizer.param_groups:
        group["params"] = [after if it is before else it for it in group["params"]]
    state: dict[str, Any] = optimizer.state.pop(before, {})
    if state:
        optimizer.state[after] = dict(_states(state, before, axis, index, more))


def _states(
    state: Mapping[str, Any], before: nn.Parameter, axis: int, index: Tensor, more: int
) -> Iterator[tuple[str, Any]]:
    for name, value in state.items():
        fits = isinstance(value, Tensor) and value.shape == before.shape
        yield name, _resized(value, axis, index, more) if fits else value
