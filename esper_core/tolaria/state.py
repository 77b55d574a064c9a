"""Everything a growing host is, in one record; and back. There is no second way to save."""

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor
from torch.nn.utils import get_total_norm

from esper_core.kasmina.groups import host_groups
from esper_core.kasmina.serialization import go_on_after_rollback
from esper_core.leyline.errors import EsperError
from esper_core.leyline.reports import HostState, Rollback
from esper_core.tolaria.fork_points import ForkMap

if TYPE_CHECKING:
    from esper_core.tolaria.host import GrowingHost

_MODEL, _OPTIMIZER, _SNAPSHOT = "model/", "optimizer/", "snapshot/"


def capture(host: "GrowingHost") -> HostState:
    """Return the host's state as of now, between two epochs, with its last good one.

    Tensors are copies and keep their memory format. Where the last good state is the present one, it is not held twice.
    """
    state, kept = capture_present(host), host.snapshot
    if kept is None:
        return state
    if kept.record == state.record:
        return evolve(state, record={**state.record, "snapshot": {}})
    tensors = {_SNAPSHOT + name: tensor for name, tensor in kept.tensors.items()}
    return HostState(tensors={**state.tensors, **tensors}, record={**state.record, "snapshot": kept.record})


def capture_present(host: "GrowingHost") -> HostState:
    """Return the host's state as of now, between two epochs, without an earlier one; see `capture`."""
    tensors = {_MODEL + name: _copy(value) for name, value in host.model.state_dict().items()}
    saved = host.optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in saved["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{index}/{name}"] = _copy(value)
            else:
                scalars.setdefault(str(index), {})[name] = value
    record = {
        **host.grower.record(),
        "attempt": host.attempt,
        "numerics": dict(host.numerics.record()),
        **_kept(host),
        "optimizer": {"groups": [_plain_group(group) for group in saved["param_groups"]], "scalars": scalars},
    }
    return HostState(tensors=tensors, record=record)


def model_tensors(state: HostState) -> dict[str, Tensor]:
    """Return the network's own tensors under their ``state_dict`` names."""
    return {name.removeprefix(_MODEL): t for name, t in state.tensors.items() if name.startswith(_MODEL)}


def restore(host: "GrowingHost", state: HostState) -> None:
    """Bring a host, made from the same plan, to a captured state: first its topology, then its tensors.

    Raises:
        EsperError: E502 if the state does not fit the host.
    """
    record = state.record
    host.begin_attempt(record["attempt"])
    host.grower.restore(record)
    _arrange_groups(host, record["optimizer"]["groups"])
    _load_model(host, state)
    host.optimizer.load_state_dict(_optimizer_state(state))
    host.numerics.restore(record.get("numerics", {}))
    host.rates.begun = {int(epoch): place for epoch, place in record.get("begun", {}).items()}
    host.train_seconds = record["train_seconds"]
    host.measure_seconds = record["measure_seconds"]
    host.snapshot = _snapshot(state)


def rollback(host: "GrowingHost", state: HostState, reason: str) -> None:
    """Bring a host back to an earlier state of its own, and send it down another path from there.

    Weights, the optimizer and the lifecycle are as they were. The count of epochs, and with it the learning rates, goes
    on, and what the lost epochs have cost stays counted. Every stream of random numbers gets a new name. The governor
    keeps its memory, and is conservative; what began to act since the state is not tried again.

    Args:
        host: at the end of the epoch that went wrong.
        state: captured before.
        reason: what went wrong.

    Raises:
        EsperError: E502 if the state does not fit the host.
    """
    grower, growth, epoch = host.grower, host.growth, host.grower.epoch - 1
    before, measured, told = dict(growth.seeds), grower.measured, (grower.findings, grower.notices)
    rolled_back = Rollback(
        attempt=host.attempt + 1, from_epoch=epoch, to_epoch=state.record["epoch"] - 1, reason=reason
    )
    record = {
        **state.record,
        **grower.record(),
        "growth": {**state.record["growth"], "germinations": growth.germinations},
        "attempt": rolled_back.attempt,
        **_kept(host),
    }
    restore(host, HostState(tensors=state.tensors, record=record))
    # Where it forks may have been tried on the network that is given up.
    host.snapshot, grower.forks = state, ForkMap(fixed_batch=grower.forks.fixed_batch)
    culls = go_on_after_rollback(growth, before, epoch, epoch - rolled_back.to_epoch)
    (grower.findings, grower.notices), grower.measured = told, measured
    grower.transitions = (*grower.transitions, *culls)
    grower.governor.rolled_back(rolled_back, {cull.slot: cull.blueprint for cull in culls})


def sound(host: "GrowingHost") -> bool:
    """Say whether the host's parameters and their optimizer's state are finite; synchronises with the device.

    An optimizer whose second moments are infinite takes no steps: no loss shows that. Seeds are their gates' concern.
    """
    parameters = [parameter for group in host_groups(host.optimizer) for parameter in group["params"]]
    state = [value for parameter in parameters for value in host.optimizer.state.get(parameter, {}).values()]
    tensors = [tensor.detach() for tensor in (*parameters, *state) if isinstance(tensor, Tensor)]
    return bool(torch.isfinite(get_total_norm(tensors, norm_type=inf)))


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.preserve_format)


def _kept(host: "GrowingHost") -> dict[str, Any]:
    """What goes on through a rollback. The epochs' places in the schedule are known where there is a budget."""
    begun = {"begun": {str(epoch): place for epoch, place in host.rates.begun.items()}} if host.rates.begun else {}
    return {"train_seconds": host.train_seconds, "measure_seconds": host.measure_seconds, **begun}


def _snapshot(state: HostState) -> HostState | None:
    """Return the last good state that a state holds; an empty record stands for the state itself."""
    own = {name: value for name, value in state.record.items() if name != "snapshot"}
    if (record := state.record.get("snapshot")) is None:
        return None
    of = _SNAPSHOT if record else ""
    named = {n.removeprefix(of): _copy(t) for n, t in state.tensors.items() if n.startswith(of)}
    return HostState(tensors=named, record=record or own)


def _plain_group(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in group.items()}


def _arrange_groups(host: "GrowingHost", groups: list[Mapping[str, Any]]) -> None:
    """Seeds' groups are matched by position: bring them into the order in which they were saved.

    A host that was saved with one group for all of its parameters, as before some were spared, goes on with one.
    """
    own, *spared = host_groups(host.optimizer)
    if spared and sum("esper_seed" not in group for group in groups) == 1:
        own["params"] = [*host.grower.growth.slot_set.host_parameters]
        host.optimizer.param_groups[:] = [it for it in host.optimizer.param_groups if it is not spared[0]]
    order = [group.get("esper_seed") for group in groups]
    present = [group.get("esper_seed") for group in host.optimizer.param_groups]
    if sorted(map(str, order)) != sorted(map(str, present)):
        raise EsperError("E502", f"the saved optimizer has groups {order}, the host has {present}")
    host.optimizer.param_groups.sort(key=lambda group: order.index(group.get("esper_seed")))


def _load_model(host: "GrowingHost", state: HostState) -> None:
    try:
        host.model.load_state_dict(model_tensors(state))
    except RuntimeError as error:
        raise EsperError(
            "E502",
            "the saved weights do not fit the host",
            why=str(error).splitlines()[-1].strip(),
            fix="restore into a host made from the same configuration",
        ) from error


def _optimizer_state(state: HostState) -> dict[str, Any]:
    record = state.record["optimizer"]
    values: dict[int, dict[str, Any]] = {int(index): dict(scalars) for index, scalars in record["scalars"].items()}
    for name, tensor in state.tensors.items():
        if name.startswith(_OPTIMIZER):
            index, key = name.removeprefix(_OPTIMIZER).split("/")
            # The optimizer would go on in the saved tensor itself.
            values.setdefault(int(index), {})[key] = _copy(tensor)
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in record["groups"]]
    return {"state": values, "param_groups": groups}
