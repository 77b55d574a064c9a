"""Learning on tables whose optimum is known, and the bundled one."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from attrs import evolve

from esper_adapter_gymnasium.episodes import KnownVectors, play_round
from esper_adapter_gymnasium.model import GrowthModel
from esper_adapter_gymnasium.oracle import play, solve
from esper_adapter_gymnasium.records import catalogue
from esper_adapter_gymnasium.rewards import TableRewards
from esper_adapter_gymnasium.table import GrowthTable
from esper_core.api import Ended, NullActor, Op
from esper_learning import ObservationSchema
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.policy import PPO
from esper_rewards_standard.presets import PRESETS, preset

TOOLS = Path(__file__).parent.parent / "tools"


def tool(name):
    if str(TOOLS) not in sys.path:
        sys.path.append(str(TOOLS))  # they import each other
    spec = importlib.util.spec_from_file_location(f"esper_tool_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_round_is_what_the_learner_learns_from(tables):
    rewards = TableRewards(GrowthModel(tables(slots=2, epochs=6)))
    policy = PPO(PPOConfig(hidden=8, slot_encoding=4), catalogue(rewards.model))
    played = play_round(policy, rewards, hosts=3, number=4)
    assert [len(it.steps) for it in played.trajectories] == [6, 6, 6]
    for trajectory, total in zip(played.trajectories, played.returns, strict=True):
        assert sum(step.reward.total for step in trajectory.steps) == pytest.approx(total)
        assert [step.ended for step in trajectory.steps] == [Ended.NONE] * 5 + [Ended.TRUNCATED]
        assert trajectory.steps[-1].terminal
    assert policy.learn(played.trajectories)["steps"] == 18


def test_known_vectors_change_no_bit_of_a_decision(tables):
    rewards = TableRewards(GrowthModel(tables(slots=2, epochs=5)))
    actions = []
    for known in (False, True):
        policy = PPO(PPOConfig(hidden=8, slot_encoding=4), catalogue(rewards.model))
        if known:
            policy.encoder.schema = KnownVectors(policy.encoder.schema.blueprints)
        played = play_round(policy, rewards, hosts=2)
        actions.append([step.decision.memo["chosen"] for it in played.trajectories for step in it.steps])
        assert policy.encoder.schema.hash == ObservationSchema(rewards.model.table.blueprints).hash
    assert actions[0] == actions[1]


def test_without_masks_what_is_impossible_waits(tables):
    rewards = TableRewards(GrowthModel(tables(slots=2, epochs=4)))
    policy = PPO(PPOConfig(hidden=8, slot_encoding=4), catalogue(rewards.model))
    played = play_round(policy, rewards, hosts=8, masked=False)
    assert all(len(step.masks.fossilize) == 2 for it in played.trajectories for step in it.steps)
    assert np.isfinite(played.returns).all()


def test_never_growing_has_the_same_return_however_it_is_played(tables):
    rewards = TableRewards(GrowthModel(tables(slots=2, epochs=8)), preset("shaped"), 0.9)
    assert play_round(NullActor(), rewards, hosts=1).returns[0] == pytest.approx(play(rewards, lambda *_: 0)[0])


def test_stacked_networks_are_those_of_the_plugins():
    torch.set_num_threads(1)
    made = tool("stacked_networks")
    topologies = [(1, 4, 2), (2, 5, 3), (3, 0, 1), (6, 6, 6), (0, 3, 5), (4, 1, 0), (5, 2, 4)]
    networks = made.Networks(topologies, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for seeds in networks.seeds.values():
            for parameter in seeds.values():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
        images = made.digits_splits().validation.inputs[:20]
        found = networks.with_ablations(made.patches_of(images))
        assert torch.equal(found[0], networks.logits(made.patches_of(images)))
        for row, topology in enumerate(topologies):
            for without in (None, 0, 1, 2):
                expected = _with_hooks(made, networks, row, topology, without)(images)
                got = found[0 if without is None else without + 1][row]
                assert torch.allclose(got, expected, atol=1e-5)


def _with_hooks(made, networks, row, topology, without):
    host = made.host_module(0)
    for slot, blueprint in enumerate(topology):
        if blueprint and slot != without:
            seed = made.seed_module(0, slot, blueprint)
            place = networks.members[slot, blueprint].tolist().index(row)
            seed.load_state_dict({name: it[place] for name, it in networks.seeds[slot, blueprint].items()})
            host.blocks[slot].register_forward_hook(lambda _, given, output, seed=seed: output + seed(output))
    return host


def bundled():
    """The bundled table with one seed at a time: its optimum is found in seconds."""
    return GrowthModel(GrowthTable.read().mean(), most_seeds=1)


def harmful(tables, harm):
    """A table in which every seed makes the network worse, by its whole contribution."""
    table = tables(slots=1, blueprints=2, epochs=16, worth=0.0)
    loss = np.repeat(table.loss[:, :1], table.loss.shape[1], axis=1)
    loss[:, 1:] += harm
    contribution = np.zeros_like(table.contribution)
    contribution[:, 1:] = -harm
    return evolve(table, loss=loss, accuracy=np.clip(np.exp(-loss), 0, 1), contribution=contribution)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("harm", [0.0, 0.04, 0.06, 0.5])
def test_a_useless_seed_is_never_worth_germinating(tables, name, harm):
    rewards = TableRewards(GrowthModel(harmful(tables, harm)), preset(name), 0.99)
    oracle, never = solve(rewards), play(rewards, lambda *_: 0)[0]
    assert oracle.best_return == pytest.approx(never, abs=1e-9)
    assert set(play(rewards, lambda *it: int(oracle.best_action(*it[:3])[0]))[1]) == {0}


class PaidCulls(TableRewards):
    """A mutant: culling what surely does harm is paid for."""

    def asked(self, epoch, local, measured, action, culled, gain):
        op, slot, _ = (np.array(column)[action] for column in zip(*self.model.actions, strict=True))
        parts = super().asked(epoch, local, measured, action, culled, gain)
        sign = 0 if measured is None else measured.sign()[np.arange(len(local)), slot]
        return {**parts, "cull": parts["cull"] + 0.3 * np.where((op == Op.CULL) & (sign < 0), 1.0, 0.0)}


def test_paying_for_culls_of_what_does_harm_pays_for_germinating_it(tables):
    rewards = PaidCulls(GrowthModel(harmful(tables, 0.04)), preset("shaped"), 0.99)
    assert solve(rewards).best_return > play(rewards, lambda *_: 0)[0] + 0.05


class Uncapped(TableRewards):
    """A mutant: the ablation is paid for in full, whatever the network has gained by it."""

    def _attribution(self, local, measured):
        credit = measured.contribution.sum(1) / self.model.table.random_guess_loss
        return np.clip(credit, -1.0, 1.0)


def worths(rewards):
    """Accuracy less rent in the end: of never growing, and of the best schedule by the reward."""
    worth, model, oracle = tool("proofs").worth, rewards.model, solve(rewards)
    _, _, bare = play(rewards, lambda *_: 0)
    _, _, last = play(rewards, lambda *it: int(oracle.best_action(*it[:3])[0]))
    return worth(model, bare), worth(model, last)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_the_best_schedule_of_a_preset_is_worth_its_rent(name):
    never, best = worths(TableRewards(bundled(), preset(name)))
    assert best >= never


@pytest.mark.slow
def test_the_best_schedule_for_the_loss_is_worth_its_rent_whatever_the_random_seed():
    table = GrowthTable.read()
    for index in range(len(table.seeds)):
        model = GrowthModel(table.of_seed(index), most_seeds=1)
        never, best = worths(TableRewards(model, preset("loss")))
        assert best >= never, table.seeds[index]


@pytest.mark.slow
def test_paying_for_ablations_is_found_out():
    only = [{"name": "attribution", "weight": 5.0}, *preset("simplified")]
    # On this random seed what the network leans on most costs more than it gains.
    model = GrowthModel(GrowthTable.read().of_seed(2), most_seeds=1)
    never, best = worths(Uncapped(model, only))
    assert best < never


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, 1])
def test_ppo_earns_nine_tenths_of_what_could_be_earned(seed):
    """What `tools/proofs.py` does. The best of all schedules has one seed at a time, so that is how it is found."""
    torch.set_num_threads(1)
    proofs, terms = tool("proofs"), preset("simplified")
    rewards, one = TableRewards(GrowthModel(GrowthTable.read().mean()), terms), TableRewards(bundled(), terms)
    never, best = play(one, lambda *_: 0)[0], solve(one).best_return
    achieved = proofs.judged_ppo(proofs.train_ppo(rewards, 102_400, seed), rewards)
    assert (achieved - never) / (best - never) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["MaskablePPO", "MaskablePPO, options of ppo", "RecurrentPPO"])
def test_agents_of_sb3_train_on_it(tables, agent, monkeypatch):
    proofs = tool("proofs")
    monkeypatch.setattr(proofs, "HOSTS", 4)
    rewards = TableRewards(GrowthModel(tables(slots=2, epochs=8)), preset("simplified"))
    assert proofs.trained(agent, rewards, 64, 0) <= solve(rewards).best_return + 1e-6
