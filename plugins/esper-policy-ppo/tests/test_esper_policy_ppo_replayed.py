"""Learning from what another version decided: corrected, weighted, and put where it belongs."""

from typing import Any

import pytest
import torch
from attrs import evolve

from esper_core.api import Ended, EsperError, Round, Trajectory
from esper_learning import LearnsReplayed
from esper_policy_ppo.advantages import normalised, v_trace
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.policy import PPO
from esper_policy_ppo.replayed import _corrected
from esper_policy_ppo.rollout_buffer import RolloutBuffer
from esper_policy_ppo.update import ratios
from esper_testing.situations import CATALOGUE, host_names, situations
from esper_testing.steps import trajectory

EPOCHS, HOSTS = 8, 3

torch.set_num_threads(1)


def policy(**options: Any) -> PPO:
    return PPO(PPOConfig(**{"hidden": 16, "slot_encoding": 8, "wait_bias": 0.0} | options), CATALOGUE)


def round_of(ppo: PPO) -> list[Trajectory]:
    """A round of made-up situations; the first host's trajectory is over in the middle."""
    ppo.reset(Round(hosts=host_names(HOSTS), epochs=EPOCHS))
    seen = [situations(CATALOGUE, HOSTS, epoch, EPOCHS, 0) for epoch in range(EPOCHS + 1)]
    decided = [ppo.decide(shown) for shown in seen[:EPOCHS]]
    made = []
    for host in range(HOSTS):
        last = EPOCHS if host else EPOCHS // 2
        shown, answers = [seen[e][host] for e in range(last)], [decided[e][host] for e in range(last)]
        it = trajectory(shown, answers, seen[last][host], number=0, seed=host)
        steps = [evolve(step, epoch=epoch, epochs=EPOCHS) for epoch, step in enumerate(it.steps)]
        ended = Ended.TRUNCATED if host else Ended.TERMINATED
        made.append(evolve(it, host=f"run-{host}", steps=(*steps[:-1], evolve(steps[-1], ended=ended))))
    return made


def moved(ppo: PPO) -> PPO:
    """The policy after somebody has trained it further."""
    other = policy(chunk_epochs=ppo.config.chunk_epochs)
    other.restore(ppo.state())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return other


def buffer_of(ppo: PPO, made: list[Trajectory]) -> RolloutBuffer:
    buffer = RolloutBuffer.of(made, ppo.encoder, ppo.config.hidden)
    ppo.value_what_was_cut_short(buffer, made)
    return buffer


def numbers(ppo: PPO) -> list[torch.Tensor]:
    return [it.detach().clone() for it in ppo.network.parameters()]


@pytest.mark.parametrize("chunk", [None, 3])
def test_for_the_version_that_acted_nothing_is_corrected(chunk: int | None) -> None:
    ppo = policy(chunk_epochs=chunk)
    buffer = buffer_of(ppo, round_of(ppo))
    found = _corrected(ppo, buffer)
    assert found.log_ratios.abs().max() < 1e-5
    values = ppo.network.normalised_returns(buffer.values)[buffer.valid]
    assert torch.allclose(found.targets.values[buffer.valid], values, atol=1e-5)


@pytest.mark.parametrize("chunk", [None, 3])
def test_another_version_is_corrected_step_by_step_with_truncated_ratios(chunk: int | None) -> None:
    acted = policy(chunk_epochs=chunk)
    made = round_of(acted)
    now = moved(acted)
    buffer = buffer_of(now, made)
    found = _corrected(now, buffer)
    spans = buffer.sequences(chunk)
    expected, _ = ratios(now.network, buffer, spans)
    longest = max(it.length for it in spans)
    places = [(it.first + offset, it.column) for offset in range(longest) for it in spans if offset < it.length]
    for place, ratio in zip(places, expected.tolist(), strict=True):
        assert found.log_ratios[place].exp().item() == pytest.approx(ratio, rel=1e-4)
    assert (found.log_ratios[buffer.valid] > 0.1).any()
    assert (found.log_ratios[buffer.valid] < -0.1).any()
    # As with ratios that were never above 1, which is what truncating at 1 means; without, it is something else.
    values = now.network.denormalised(found.targets.values)
    parts = (buffer.rewards, values, buffer.ends, buffer.final_values)
    truncated = v_trace(*parts, found.log_ratios.clamp(max=0.0), gamma=buffer.gamma)
    free = v_trace(*parts, found.log_ratios, gamma=buffer.gamma, clip_rho=1e9, clip_c=1e9)
    least = now.config.least_advantage_deviation * float(now.network.return_moments.deviation())
    ours = found.targets.advantages[..., 0][buffer.valid]
    assert torch.allclose(ours, normalised(truncated.advantages, buffer.choosable, least)[buffer.valid], atol=1e-4)
    assert not torch.allclose(ours, normalised(free.advantages, buffer.choosable, least)[buffer.valid], atol=1e-2)


def test_it_learns_the_same_bits_each_time_and_gives_each_trajectory_a_priority() -> None:
    acted = policy()
    made = round_of(acted)
    learned = []
    for _ in range(2):
        now = moved(acted)
        assert isinstance(now, LearnsReplayed)
        before = numbers(now)
        figures, priorities = now.learn_replayed(made, [1.0, 0.5, 0.25])
        assert len(priorities) == len(made)
        assert all(it > 0.0 for it in priorities)
        assert figures["replayed steps"] == sum(len(it.steps) for it in made)
        assert 0.0 < figures["replayed truncated share"] < 1.0
        assert any(not torch.equal(one, other) for one, other in zip(before, numbers(now), strict=True))
        learned.append([figures, priorities, numbers(now)])
    assert learned[0][:2] == learned[1][:2]
    assert all(torch.equal(one, other) for one, other in zip(learned[0][2], learned[1][2], strict=True))


def test_what_weighs_nothing_changes_nothing() -> None:
    acted = policy()
    made = round_of(acted)
    now = moved(acted)
    now.config = evolve(now.config, entropy_coefficient=0.0, final_entropy_coefficient=0.0)
    before = numbers(now)
    now.learn_replayed(made, [0.0] * len(made))
    assert all(torch.equal(one, other) for one, other in zip(before, numbers(now), strict=True))


@pytest.mark.parametrize("wrong", ["a weight too few", "one host twice"])
def test_trajectories_without_a_weight_or_a_host_of_their_own_are_refused(wrong: str) -> None:
    ppo = policy()
    made = round_of(ppo)
    if wrong == "one host twice":
        made[1] = evolve(made[1], host=made[0].host)
    with pytest.raises(EsperError) as caught:
        ppo.learn_replayed(made, [1.0] * (len(made) - (wrong != "one host twice")))
    assert caught.value.code == "E502"
