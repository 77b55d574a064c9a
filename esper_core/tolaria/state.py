"""Everything a growing host is, in one record; and back. There is no second way to save."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.errors import EsperError
from esper_core.leyline.reports import HostState

if TYPE_CHECKING:
    from esper_core.tolaria.host import GrowingHost

_MODEL, _OPTIMIZER = "model/", "optimizer/"


def capture(host: "GrowingHost") -> HostState:
    """Return the host's state as of now, between two epochs. Tensors are copies and keep their memory format."""
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
        "train_seconds": host.train_seconds,
        "measure_seconds": host.measure_seconds,
        "numerics": dict(host.numerics.record()),
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
    host.train_seconds = record["train_seconds"]
    host.measure_seconds = record["measure_seconds"]


def rollback(host: "GrowingHost", state: HostState) -> None:
    """Bring a host back to an earlier state of its own, and send it down another path from there.

    Every stream of random numbers gets a new name, so that it does not diverge in the same way again, and the governor
    keeps its memory: it is conservative until the votes are normal.

    Raises:
        EsperError: E502 if the state does not fit the host.
    """
    attempt, memory = host.attempt + 1, host.grower.governor.record()["memory"]
    restore(host, HostState(tensors=state.tensors, record={**state.record, "attempt": attempt}))
    reason = f"the host was rolled back to epoch {host.grower.epoch}, attempt {attempt}"
    host.grower.governor.restore({"mode": GovernorMode.CONSERVATIVE.value, "reason": reason, "memory": memory})


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.preserve_format)


def _plain_group(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in group.items()}


def _arrange_groups(host: "GrowingHost", groups: list[Mapping[str, Any]]) -> None:
    """Seeds' groups are matched by position: bring them into the order in which they were saved."""
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
            values.setdefault(int(index), {})[key] = tensor
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in record["groups"]]
    return {"state": values, "param_groups": groups}
