"""Growing that is really trained, as an environment."""

import threading

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from esper_adapter_gymnasium.growth_env import GrowthEnv
from esper_core.api import EsperError, Op

ID = "esper_adapter_gymnasium:esper/Growth-v0"


@pytest.mark.parametrize("actions", ["flat", "factored"])
def test_gymnasium_accepts_it(actions):
    env = gym.make(ID, epochs=4, actions=actions)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_an_episode_grows_the_network():
    env = GrowthEnv(epochs=14)
    observed, info = env.reset(seed=3)
    assert info["action_mask"].tolist() == [True, True, True, False, False, False, False]
    total, sizes = 0.0, []
    for epoch in range(14):
        mask = env.action_masks()
        action = 1 if epoch == 0 else int(np.flatnonzero(mask)[-1]) if mask[-2:].any() else 0
        observed, reward, over, cut, info = env.step(action)
        assert not cut
        assert over == (epoch == 13)
        assert env.observation_space.contains(observed)
        assert reward == sum(info["reward_terms"].values())
        total += reward
        sizes.append(env._situation.observation.host.growth_ratio)
    assert sizes[0] > 0.2
    last = env._situation.observation.host
    assert total == pytest.approx(last.validation_accuracy - 0.1 * np.log2(1 + last.growth_ratio))
    assert not any(thread.name == "esper-growth" for thread in threading.enumerate())


def test_what_is_not_possible_waits_and_is_counted():
    env = GrowthEnv(epochs=3, actions="factored")
    env.reset(seed=0)
    _, _, _, _, info = env.step([Op.CULL, 1, 0])
    assert info["invalid_action"]
    assert info["invalid_actions"] == 1
    assert env.reset(seed=0)[1]["invalid_actions"] == 0
    env.close()


def test_vectors_of_it_begin_again_in_the_same_step():
    env = gym.make_vec(ID, num_envs=2, epochs=2)
    assert env.metadata["autoreset_mode"] is gym.vector.AutoresetMode.SAME_STEP
    env.reset(seed=[5, 6])
    env.step(np.array([0, 0]))
    _, _, terminated, _, info = env.step(np.array([0, 0]))
    assert terminated.all()
    assert "final_obs" in info
    env.close()


def test_a_training_that_fails_says_so():
    with pytest.raises(EsperError, match="no-such-blueprint"):
        GrowthEnv(problem=lambda seed: broken(seed))


def broken(seed):
    from attrs import evolve

    from esper_adapter_gymnasium.problems import products

    return evolve(products(seed), blueprints=("no-such-blueprint",))
