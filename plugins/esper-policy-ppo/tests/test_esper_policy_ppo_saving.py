"""A state that somebody has changed is refused as a whole, with the name of what is wrong in it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from esper_core.api import Catalogue, CatalogueEntry, EsperError, Layout, PolicyState, Round
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.policy import PPO

CATALOGUE = Catalogue((CatalogueEntry(name="mlp", layouts=frozenset({Layout.BD})),))


def policy() -> PPO:
    """One that has taken a step, so that its optimizer has a state."""
    ppo = PPO(PPOConfig(hidden=8, slot_encoding=4), CATALOGUE)
    ppo.reset(Round(number=2, hosts=("h",), epochs=4))
    sum(parameter.square().sum() for parameter in ppo.network.parameters()).backward()  # type: ignore[union-attr]
    ppo.optimizer.step()
    return ppo


def tensor(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[PolicyState], PolicyState]:
    """Change one tensor."""
    return lambda state: evolve(state, tensors={**state.tensors, name: change(state.tensors[name])})


def without(name: str) -> Callable[[PolicyState], PolicyState]:
    """Leave one tensor out."""
    return lambda state: evolve(state, tensors={key: it for key, it in state.tensors.items() if key != name})


def added(name: str, value: Tensor) -> Callable[[PolicyState], PolicyState]:
    """Add a tensor."""
    return lambda state: evolve(state, tensors={**state.tensors, name: value})


def value(name: str, changed: Any) -> Callable[[PolicyState], PolicyState]:
    """Change a value of the record."""
    return lambda state: evolve(state, record={**state.record, name: changed})


FIRST = "optimizer/0/exp_avg"


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (tensor(FIRST, lambda it: it.to(torch.complex64)), FIRST),
        (tensor(FIRST, lambda it: it.flatten()[:1]), FIRST),
        (tensor(f"{FIRST}_sq", lambda it: -it - 1), f"{FIRST}_sq"),
        (tensor("optimizer/0/step", lambda it: it.repeat(2)), "optimizer/0/step"),
        (tensor("optimizer/0/step", torch.neg), "optimizer/0/step"),
        (without(FIRST), FIRST),
        (added("optimizer/999/step", torch.ones(())), "optimizer/999"),
        (added("optimizer/-1/step", torch.ones(())), "optimizer/-1"),
        (added("optimizer/0/more", torch.ones(())), "optimizer/0/more"),
        (added("stranger", torch.ones(())), "stranger"),
        (added("hidden/h", torch.zeros(2, 7)), "hidden/h"),
        (tensor("network/lstm.bias_hh_l0", lambda it: it.double()), "network/lstm.bias_hh_l0"),
        (tensor("network/host_moments.count", lambda it: it - 1), "network/host_moments.count"),
        (without("network/lstm.bias_hh_l0"), "network/lstm.bias_hh_l0"),
        (value("updates", -1), "updates"),
        (value("updates", True), "updates"),
        (value("learned_rounds", -1), "learned_rounds"),
        (value("learned_rounds", 1), "learned_rounds"),
        (value("round", "2"), "round"),
        (value("round", 1 << 62), "round"),
        (value("attempts", {"h": 0.5}), "attempts/h"),
        (value("attempts", []), "attempts"),
        (value("value_watch", [1]), "value_watch"),
        (value("value_watch", [1, 0]), "value_watch"),
        (value("value_watch", [-1, False]), "value_watch"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(
    damage: Callable[[PolicyState], PolicyState], named: str
) -> None:
    ppo = policy()
    state = ppo.state()
    with pytest.raises(EsperError) as refused:
        ppo.restore(damage(state))
    assert (refused.value.code, f'"{named}"' in refused.value.what) == ("E502", True), refused.value
    after = ppo.state()
    assert after.record == state.record
    assert all(torch.equal(it, after.tensors[name]) for name, it in state.tensors.items())


def test_a_sound_state_is_restored() -> None:
    ppo, state = PPO(PPOConfig(hidden=8, slot_encoding=4), CATALOGUE), policy().state()
    ppo.restore(evolve(state, tensors={**state.tensors, "hidden/h": torch.ones(2, 8)}))
    after = ppo.state()
    assert after.record == state.record
    assert all(torch.equal(it, after.tensors[name]) for name, it in state.tensors.items())
