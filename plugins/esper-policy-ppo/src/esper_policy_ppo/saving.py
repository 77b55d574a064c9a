"""A saved policy: what it must agree with, and the optimizer's state as tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from esper_core.api import EsperError, PolicyState
from esper_learning import differences
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.inputs import Encoder

#: How many differences an error names.
_NAMED = 3


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
