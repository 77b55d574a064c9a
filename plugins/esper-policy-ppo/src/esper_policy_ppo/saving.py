"""A saved policy: what it must agree with, and the optimizer's state as tensors."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from esper_core.api import EsperError, PolicyState
from esper_learning import differences
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.inputs import Encoder

#: How many differences an error names.
_NAMED = 3

#: What Adam keeps for each parameter.
_ADAM = {"step", "exp_avg", "exp_avg_sq"}

#: How the names of tensors end that hold counts and squares.
_NEVER_NEGATIVE = ("/step", "/exp_avg_sq", "_moments.count", "_moments.variance")

#: No count of a policy becomes so large.
_MOST = 1 << 62


def refuse_another(state: PolicyState, encoder: Encoder, config: PPOConfig) -> None:
    """Check that a state is of a policy like this one.

    Raises:
        EsperError: E502 naming what differs: the catalogue, the features of observations, or the network's widths.
    """
    record = state.record
    if record["catalogue"] != encoder.catalogue.digest:
        was, now = record["blueprints"], list(encoder.catalogue.names)
        why = f"it was {', '.join(was)}; it is {', '.join(now)}" if was != now else "a blueprint has other options"
        raise EsperError(
            "E502",
            "the saved policy is of another catalogue",
            why=why,
            fix="name the same blueprints with the same options in policy.blueprints, or train another policy",
        )
    if record["schema_hash"] != encoder.schema.hash:
        lines = differences(record["schema"], encoder.schema)
        more = f"; and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
        raise EsperError(
            "E502",
            "the saved policy is of other observations",
            why="; ".join(lines[:_NAMED]) + more,
            fix="use it with the Esper that it was trained with, or train another policy",
        )
    widths = [config.hidden, config.slot_encoding]
    if record["widths"] != widths:
        why = f"hidden and slot_encoding were {record['widths']}, they are {widths}"
        raise EsperError("E502", "the saved policy is of other widths", why=why, fix="set them as they were")


def refuse_damaged(state: PolicyState, network: nn.Module, parameters: Sequence[Tensor], hidden: Tensor) -> None:
    """Check that a state of a policy like this one is whole: each value has the type, and each tensor the shape.

    Args:
        state: what is to be restored.
        network: that of the policy.
        parameters: of its optimizer, in order.
        hidden: a state of memory of one host.

    Raises:
        EsperError: E502 naming what is not as it was saved.
    """
    found = dict(_unfit_tensors(state.tensors, network, parameters, hidden)) | dict(_unfit_values(state.record))
    if found:
        name, why = next(iter(found.items()))
        raise EsperError("E502", f'"{name}" of the saved policy is damaged', why=why, fix="use an earlier state of it")


def _unfit_tensors(
    tensors: Mapping[str, Tensor], network: nn.Module, parameters: Sequence[Tensor], hidden: Tensor
) -> Iterator[tuple[str, str]]:
    expected = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    yield from ((name, "it is missing") for name in expected if name not in tensors)
    for index in sorted({name.split("/")[1] for name in tensors if name.startswith("optimizer/")}):
        if not index.isdecimal() or int(index) >= len(parameters):
            yield f"optimizer/{index}", "the network has no such parameter"
            continue
        parameter = parameters[int(index)]
        expected |= {f"optimizer/{index}/{name}": parameter for name in _ADAM - {"step"}}
        expected[f"optimizer/{index}/step"] = parameter.new_zeros(())
        yield from ((it, "it is missing") for it in (f"optimizer/{index}/{n}" for n in _ADAM) if it not in tensors)
    for name, tensor in tensors.items():
        like = hidden if name.startswith("hidden/") else expected.get(name)
        if like is None:
            yield name, "a policy has nothing of this name"
        elif (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            yield name, f"it is {_kind(tensor)}, and not {_kind(like)}"
        elif name.endswith(_NEVER_NEGATIVE) and bool((tensor < 0).any()):
            yield name, "it is negative"


def _unfit_values(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    attempts, watch = record["attempts"], record["value_watch"]
    counts = {"updates": record["updates"], "round": record["round"]}
    if isinstance(attempts, Mapping):
        counts |= {f"attempts/{host}": count for host, count in attempts.items()}
    else:
        yield "attempts", "it is no mapping"
    if isinstance(watch, list) and len(watch) == len(("bad", "collapsed")) and isinstance(watch[1], bool):
        counts["value_watch"] = watch[0]
    else:
        yield "value_watch", "it is not a number and whether the value has collapsed"
    learned = record.get("learned_rounds", 0)  # older states have none
    counts["learned_rounds"] = learned
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < _MOST:
            yield name, "it counts nothing"
            return
    if learned > record["updates"]:
        yield "learned_rounds", "they are more than there were updates"


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}"


def packed_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer by parameter number and name."""
    return {
        f"optimizer/{index}/{name}": torch.as_tensor(value).clone()
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Go on from what `packed_optimizer` gave; hyper-parameters are those that the optimizer was made with."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            state.setdefault(int(index), {})[name] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
