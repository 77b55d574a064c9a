"""A seed's parameter group: it comes and goes in the user's optimizer, in place, and the host's groups never notice.

Torch's optimizers update every group by itself. So what they do to the host's groups is bit for bit the same with and
without a seed's group beside them, as long as nothing else joins the two; gradient clipping would, hence
`clip_grad_norm_by_origin_`.
"""

from collections.abc import Iterable
from typing import Any, TypeGuard

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import LBFGS, Optimizer

from esper_core.leyline.errors import EsperError, did_you_mean

#: The key of a seed's group that holds the seed's id. It travels with ``optimizer.state_dict()``.
SEED_KEY = "esper_seed"

#: The origin of everything that is not a seed's, in `clip_grad_norm_by_origin_`.
HOST_ORIGIN = "host"

Group = dict[str, Any]


def unwrapped(optimizer: Optimizer) -> Optimizer:
    """Return the optimizer that takes the steps: wrappers (accelerate's, those of SAM) share the groups of theirs.

    Raises:
        EsperError: E406 if there is none with hooks, or it knows no groups (LBFGS).
    """
    found = optimizer
    while inner := next((it for it in vars(found).values() if _is_inside(it, found)), None):
        found = inner
    if not hasattr(found, "_optimizer_step_pre_hooks"):
        raise _misfit(
            optimizer,
            "the optimizer has no step hooks",
            why="it wraps another one, which was not found in it",
            fix="give the optimizer that it wraps",
        )
    _refuse_kind(found)
    return found


def _is_inside(inner: object, outer: Optimizer) -> TypeGuard[Optimizer]:
    groups = [getattr(one, "param_groups", None) for one in (inner, outer)]
    return isinstance(inner, Optimizer) and inner is not outer and groups[0] is groups[1]


def host_groups(optimizer: Optimizer) -> list[Group]:
    """Return the parameter groups that belong to no seed, in the optimizer's order."""
    return [group for group in optimizer.param_groups if SEED_KEY not in group]


def seed_ids(optimizer: Optimizer) -> tuple[str, ...]:
    """Return the ids of the seeds that have a group, in the optimizer's order.

    A saved optimizer state fits an optimizer only if its groups stand in the same order: germinate in this order
    before ``optimizer.load_state_dict``.
    """
    return tuple(group[SEED_KEY] for group in optimizer.param_groups if SEED_KEY in group)


def seed_group(optimizer: Optimizer, seed_id: str) -> Group:
    """Return the parameter group of a seed.

    Raises:
        EsperError: E406 if the seed has none.
    """
    for group in optimizer.param_groups:
        if group.get(SEED_KEY) == seed_id:
            return group
    raise _misfit(
        optimizer,
        f'seed "{seed_id}" has no parameter group',
        why=f"the optimizer has groups for: {', '.join(seed_ids(optimizer)) or 'no seed'}",
        fix="if the optimizer was rebuilt or its state loaded, add the groups of the live seeds to it first",
    )


def add_seed_group(
    optimizer: Optimizer,
    seed_id: str,
    parameters: Iterable[Tensor] | Iterable[tuple[str, Tensor]],
    *,
    lr: float,
    **options: Any,
) -> None:
    """Append a group with a seed's parameters to the optimizer.

    Parameters that an optimizer holds in a host group already (it was built from a model with live seeds) move from
    there to the seed's group and keep their state.

    Args:
        optimizer: any torch optimizer that treats its groups one by one.
        seed_id: unique in the optimizer.
        parameters: the seed's parameters, or pairs of name and parameter. Names are kept if the optimizer keeps names.
        lr: the learning rate to begin with.
        options: hyperparameters other than `lr`, such as ``weight_decay``. What is not given is as it is in the
            optimizer's first host group at this moment.

    Raises:
        EsperError: E406 if the seed has a group already, an option is not one of the optimizer's, or the optimizer
            knows no groups (LBFGS) or no such shapes (Muon).
    """
    _refuse(optimizer, seed_id, options)
    first = host_groups(optimizer)[0]
    names, tensors = _named(seed_id, parameters)
    _refuse_shapes(optimizer, seed_id, tensors)
    _take_out_of_host(optimizer, tensors)
    group: Group = {name: first.get(name, default) for name, default in optimizer.defaults.items()}
    group |= options
    # A tensor learning rate must stay one (capturable optimizers), and be the group's own.
    group["lr"] = torch.full_like(first["lr"], lr) if isinstance(first["lr"], Tensor) else lr
    group[SEED_KEY] = seed_id
    group["params"] = tensors
    if "param_names" in first:  # all groups have names, or none has
        group["param_names"] = names
    optimizer.add_param_group(group)


def remove_seed_group(optimizer: Optimizer, seed_id: str) -> None:
    """Remove a seed's group and the state of its parameters. Every other group and its state stay as they are.

    Raises:
        EsperError: E406 if the seed has no group.
    """
    group = seed_group(optimizer, seed_id)
    for parameter in group["params"]:
        optimizer.state.pop(parameter, None)
    index = next(i for i, other in enumerate(optimizer.param_groups) if other is group)
    del optimizer.param_groups[index]


def set_seed_lr(optimizer: Optimizer, seed_id: str, lr: float) -> None:
    """Set the learning rate of a seed's group; a tensor is filled in place, as capturable optimizers need it.

    Raises:
        EsperError: E406 if the seed has no group.
    """
    set_group_lr(seed_group(optimizer, seed_id), lr)


def set_group_lr(group: Group, lr: float) -> None:
    """Set the learning rate of a group; a tensor is filled in place."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def clip_grad_norm_by_origin_(
    optimizer: Optimizer, max_norm: float, host: Iterable[Tensor] | None = None
) -> dict[str, Tensor]:
    """Clip the gradient norm of the host, and of each seed by itself, in place.

    One norm over all of them would let a seed's gradients decide how the host is clipped. A norm that is not finite
    spoils the gradients of its own origin only.

    Args:
        optimizer: holds the groups.
        max_norm: of each origin.
        host: the host's parameters in the order in which their squares are summed, which decides the last bit; None:
            that of the optimizer's groups.

    Returns:
        The norm before clipping of each origin: `HOST_ORIGIN` and the seeds' ids; 0-dim tensors, no synchronisation.
    """
    if host is None:
        host = [parameter for group in host_groups(optimizer) for parameter in group["params"]]
    norms = {HOST_ORIGIN: clip_grad_norm_(host, max_norm)}
    for seed_id in seed_ids(optimizer):
        norms[seed_id] = clip_grad_norm_(seed_group(optimizer, seed_id)["params"], max_norm)
    return norms


@frozen
class GradientSize:
    """How large the gradients of some parameters are; those without a gradient do not count.

    Attributes:
        norm: 2-norm over all elements; a 0-dim float32 tensor, not synchronised.
        count: number of elements.
    """

    norm: Tensor
    count: int

    @classmethod
    def of(cls, parameters: Iterable[Tensor]) -> "GradientSize":
        """Measure the gradients as they are now."""
        # In float32: the squares of half-precision gradients overflow.
        gradients = [p.grad.detach().float() for p in parameters if p.grad is not None]
        norm = get_total_norm(gradients)
        # Where gradients are sharded, every process asks at the same time.
        return cls(getattr(norm, "full_tensor", lambda: norm)(), sum(gradient.numel() for gradient in gradients))


def gradient_ratio(host: GradientSize, seed: GradientSize) -> Tensor:
    """Return how intense the seed's gradients are per parameter, relative to the host's.

    (|g_seed| / |g_host|) * sqrt(n_host / n_seed), with norms and numbers of elements. A common loss scale cancels out.

    Returns:
        A 0-dim float32 tensor on the device of the seed's norm; nothing is synchronised. NaN where there is nothing to
        measure: no gradient on one side, or a host norm that is zero or not finite. A seed's gradient that is not
        finite makes the ratio NaN or infinite.
    """
    device = seed.norm.device
    unknown = torch.full((), float("nan"), device=device)
    if not seed.count or not host.count:
        return unknown
    host_norm = host.norm.to(device)
    ratio = seed.norm / host_norm * (host.count / seed.count) ** 0.5
    return torch.where((host_norm > 0) & host_norm.isfinite(), ratio, unknown)


def _named(seed_id: str, parameters: Iterable[Tensor] | Iterable[tuple[str, Tensor]]) -> tuple[list[str], list[Tensor]]:
    names, tensors = [], []
    for number, item in enumerate(parameters):
        name, tensor = item if isinstance(item, tuple) else (f"{seed_id}.{number}", item)
        names.append(name)
        tensors.append(tensor)
    return names, tensors


def _take_out_of_host(optimizer: Optimizer, tensors: list[Tensor]) -> None:
    moving = set(tensors)
    for group in host_groups(optimizer):
        kept = [i for i, parameter in enumerate(group["params"]) if parameter not in moving]
        if len(kept) < len(group["params"]):
            for key in ("params", "param_names"):
                if key in group:
                    group[key] = [group[key][i] for i in kept]


def _refuse(optimizer: Optimizer, seed_id: str, options: dict[str, Any]) -> None:
    _refuse_kind(optimizer)
    if seed_id == HOST_ORIGIN or seed_id in seed_ids(optimizer):
        taken = "is the name of the host's own groups" if seed_id == HOST_ORIGIN else "has a parameter group already"
        raise _misfit(optimizer, f'seed id "{seed_id}" {taken}', why="ids are unique", fix="remove the old group first")
    for name in options:
        if name not in optimizer.defaults:
            known = set(optimizer.defaults) - {"lr"}
            raise _misfit(
                optimizer,
                f'"{name}" is not an option of the optimizer',
                why=f"{type(optimizer).__name__} would ignore it",
                fix=did_you_mean(name, known),
            )


def _refuse_kind(optimizer: Optimizer) -> None:
    if isinstance(optimizer, LBFGS):
        raise _misfit(
            optimizer,
            "the optimizer cannot train seeds",
            why="it has one group only and steps along a direction that mixes all of its parameters",
            fix="use SGD, Adam, AdamW or another optimizer that treats its groups one by one",
        )


def _refuse_shapes(optimizer: Optimizer, seed_id: str, tensors: Iterable[Tensor]) -> None:
    if isinstance(optimizer, getattr(torch.optim, "Muon", ())) and any(tensor.ndim != 2 for tensor in tensors):
        raise _misfit(
            optimizer,
            f'the optimizer cannot train seed "{seed_id}"',
            why="it takes matrices only, and the seed has parameters of other shapes",
            fix="give grow() the optimizer that trains the rest of the network",
        )


def _misfit(optimizer: Optimizer, what: str, *, why: str, fix: str) -> EsperError:
    return EsperError("E406", what, where=f"optimizer {type(optimizer).__name__}", why=why, fix=fix)
