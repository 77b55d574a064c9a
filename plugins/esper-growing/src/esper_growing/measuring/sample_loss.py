"""What a user's loss is: found out by holding what it says of single samples against what it says of their batch."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from functools import partial
from math import isfinite
from typing import Any, cast

import torch
from attrs import evolve, frozen
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from esper_core.leyline.errors import EsperError

#: ``loss(outputs, targets)``: a mean over the batch, or one loss per sample.
Loss = Callable[[Any, Tensor], Tensor]
#: Gives the loss of each sample, (B,).
Losses = Callable[[Any, Tensor], Tensor]

#: Relative difference up to which two means are the same: they are summed in another order.
_TOLERANCE = 1e-3
_TOLERANCES: Mapping[torch.dtype, float] = {torch.float16: 1e-2, torch.bfloat16: 5e-2}
#: Targets that are usually not to be predicted.
_USUALLY_IGNORED = (-100, -1, 0)


@frozen(kw_only=True)
class SampleLoss:
    """How a loss becomes one value per sample.

    Attributes:
        losses: gives them, (B,).
        how: in words.
        ignored: a target with this value counts for nothing; None: every target counts.
        across: the loss of a sample depends on the others in its batch.
    """

    losses: Losses
    how: str
    ignored: int | None = None
    across: bool = False


def find_sample_loss(loss: Loss, outputs: Any, targets: Tensor) -> SampleLoss | None:
    """Return how a loss becomes one value per sample: their mean is the loss of the batch.

    Args:
        loss: the user's; a module with a `reduction`, and a function that takes one, are asked for none.
        outputs, targets: of one batch, whose first axis is the samples.

    Returns:
        None if the loss of this batch is not finite: nothing can be held against it.

    Raises:
        EsperError: E202 if the loss of the batch is not a mean of what the loss says of single samples.
    """
    with torch.no_grad():
        whole = loss(outputs, targets)
        tolerance = _TOLERANCES.get(whole.dtype, _TOLERANCE)
        whole = whole.double()
        own = float(whole.mean())
        if not isfinite(own):
            return None
        wanted = [own, own / len(targets)] if whole.ndim == 0 else [own]
        seen: list[float] = []
        for found, values, weights in _candidates(loss, outputs, targets):
            counted = weights > 0
            means = [
                float((values * weights)[counted].sum() / weights.sum()),
                float(values[counted].mean()),
            ]
            seen.append(means[1])
            if any(_same(mean, one, tolerance) for mean in means for one in wanted):
                return found
    raise EsperError(
        "E202",
        "it is not known what the loss of a single sample is",
        where="epoch_end(loss=...)",
        why=f"of a batch of {len(targets)} it is {own:.4g}, but the mean over its samples "
        + (f"{', '.join(f'{one:.4g}' for one in dict.fromkeys(seen))}" if seen else "cannot be computed"),
        fix='give a loss that returns one value per sample (reduction="none"), the batch in the first axis',
    )


def with_ignored(found: SampleLoss, ignored: int) -> SampleLoss:
    """Return the same where targets of a value count for nothing, of which the batch that was looked at had none."""
    losses = found.losses
    if isinstance(losses, partial) and "ignored" in losses.keywords:
        losses = partial(losses.func, *losses.args, ignored=ignored)
    return evolve(found, losses=losses, ignored=ignored)


def per_sample(loss: Loss) -> Losses:
    """Return a loss as one value per sample, (B,), without holding it against anything.

    A module with a `reduction` and a function that takes one are asked for none. Whatever gives no row for each sample
    all the same (a mean, or a value for each position of a batch that it flattens) is called on one sample at a time.
    """
    whole = _unreduced(loss)

    def losses(outputs: Any, targets: Tensor) -> Tensor:
        rows = whole(outputs, targets)
        if rows.ndim > 0 and len(rows) == len(targets):
            return rows.reshape(len(targets), -1).mean(1)
        return _one_by_one(loss, outputs, targets)

    return losses


def countable(targets: Tensor, ignored: int | None) -> Tensor:
    """Return which samples have a target that counts, (B,) of bool."""
    if ignored is None:
        return torch.ones(len(targets), dtype=torch.bool, device=targets.device)
    return (targets != ignored).reshape(len(targets), -1).any(1)


def _candidates(loss: Loss, outputs: Any, targets: Tensor) -> Iterator[tuple[SampleLoss, Tensor, Tensor]]:
    """Yield ways to a value per sample, with the values and weights that they give for a batch."""
    ones = torch.ones(len(targets), dtype=torch.float64, device=targets.device)
    whole = _unreduced(loss)
    try:
        rows = whole(outputs, targets)
    except Exception:  # a function may take a reduction and not know this one
        rows = torch.empty(())
    by_row = rows.ndim > 0 and len(rows) == len(targets)
    if by_row:
        across = _looks_across(whole, rows, outputs, targets)
        for ignored in _ignored(loss, targets, rows):
            counts = _counts(targets, ignored).double()
            mean = partial(_mean_of_rows, whole, ignored=ignored)
            how = "the mean over each sample" + ("" if ignored is None else f", targets of {ignored} left out")
            yield (
                SampleLoss(losses=mean, how=how, ignored=ignored, across=across),
                mean(outputs, targets).double(),
                counts,
            )
        total = partial(_sum_of_rows, whole)
        yield (
            SampleLoss(losses=total, how="the sum over each sample", across=across),
            total(outputs, targets).double(),
            ones,
        )
    single = partial(_one_by_one, loss)
    try:
        alone = single(outputs, targets).double()
    except Exception:  # some losses take no batch of one
        return
    if by_row and rows.ndim == 1 and not rows.is_complex():
        yield from _weighted(whole, rows.double(), alone)
    for ignored in _ignored(loss, targets, None):
        counts = _counts(targets, ignored).double()
        how = "each sample by itself" + ("" if ignored is None else f", targets of {ignored} left out")
        yield SampleLoss(losses=single, how=how, ignored=ignored), alone, counts


def _weighted(whole: Loss, rows: Tensor, alone: Tensor) -> Iterator[tuple[SampleLoss, Tensor, Tensor]]:
    """A mean by weights (of classes): a sample alone has none, since its weight divides itself."""
    weights = torch.where(alone.abs() > 0, rows / alone, 0.0)
    if not bool(weights.isfinite().all()) or not bool((weights > 0).any()):
        return
    scale = float(weights[weights > 0].mean())
    values = rows / scale
    found = SampleLoss(losses=lambda outputs, targets: whole(outputs, targets) / scale, how="each sample by its weight")
    # The weights that are yielded make the mean over samples that of the batch by weights.
    yield found, torch.where(weights > 0, values * scale / weights, 0.0), weights


def _looks_across(whole: Loss, rows: Tensor, outputs: Any, targets: Tensor) -> bool:
    half = len(targets) // 2
    if not half:
        return False
    try:
        again = whole(_part(outputs, 0, half), targets[:half])
    except Exception:  # it takes no other number of samples: then it looks at all of them
        return True
    return again.shape != rows[:half].shape or not torch.allclose(again, rows[:half], rtol=1e-3, atol=1e-5)


def _ignored(loss: Loss, targets: Tensor, rows: Tensor | None) -> Iterator[int | None]:
    """Yield None, and then values of targets that may count for nothing; `rows` is the loss of each target."""
    yield None
    if targets.is_floating_point() or targets.is_complex() or targets.dtype is torch.bool:
        return
    named = getattr(loss, "ignore_index", None)
    for value in dict.fromkeys([*([named] if isinstance(named, int) else []), *_USUALLY_IGNORED]):
        there = targets == value
        if not bool(there.any()) or bool(there.all()):
            continue
        if rows is not None and (rows.shape != targets.shape or bool(rows[there].any())):
            continue
        yield value


def _counts(targets: Tensor, ignored: int | None) -> Tensor:
    if ignored is None:
        return torch.ones(len(targets), device=targets.device)
    return (targets != ignored).reshape(len(targets), -1).sum(1)


def _mean_of_rows(whole: Loss, outputs: Any, targets: Tensor, *, ignored: int | None) -> Tensor:
    rows = whole(outputs, targets).reshape(len(targets), -1)
    if ignored is None or rows.shape != targets.reshape(len(targets), -1).shape:
        return rows.mean(1)
    counted = (targets != ignored).reshape(len(targets), -1)
    return (rows * counted).sum(1) / counted.sum(1)


def _sum_of_rows(whole: Loss, outputs: Any, targets: Tensor) -> Tensor:
    return whole(outputs, targets).reshape(len(targets), -1).sum(1)


def _one_by_one(loss: Loss, outputs: Any, targets: Tensor) -> Tensor:
    return torch.stack([loss(_part(outputs, i, i + 1), targets[i : i + 1]).mean() for i in range(len(targets))])


def _part(outputs: Any, begin: int, end: int) -> Any:
    """Some samples of whatever a network gives out."""
    return tree_map(lambda leaf: leaf[begin:end] if isinstance(leaf, Tensor) and leaf.ndim else leaf, outputs)


def _same(one: float, other: float, tolerance: float) -> bool:
    return isfinite(one) and abs(one - other) <= tolerance * abs(other) + 1e-7


def _unreduced(loss: Loss) -> Loss:
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        unreduced: Any = copy(loss)
        unreduced.reduction = "none"
        return cast(Loss, unreduced)
    asked: Callable[..., Tensor] = loss
    return partial(asked, reduction="none") if "reduction" in _parameters(loss) else loss


def _parameters(function: Callable[..., Any]) -> Iterable[str]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()
