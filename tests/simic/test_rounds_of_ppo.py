"""PPO on real, small hosts: rounds that go on bit for bit, and a host that diverges in the middle of one."""

import importlib.util
from pathlib import Path

import pytest
import torch
from attrs import evolve

from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.events import EventKind
from esper_core.leyline.learning import Ended
from esper_core.leyline.vital_signs import Vote
from esper_core.simic.rounds import run_rounds
from esper_core.tamiyo.policy import Policy
from esper_policy_ppo.advantages import advantages
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.plugin import esper_policies
from esper_policy_ppo.policy import PPO
from esper_policy_ppo.rollout_buffer import RolloutBuffer

SCRIPT = Path(__file__).with_name("bandit.py")
_spec = importlib.util.spec_from_file_location("esper_test_bandit_of_ppo", SCRIPT)
bandit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bandit)

CONFIG = PPOConfig(rounds=bandit.ROUNDS, hidden=16, slot_encoding=8, learning_rate=3e-3)
CAPABILITIES = next(iter(esper_policies())).capabilities


class Keeps(PPO):
    """The policy that keeps what it learned from, and the hidden states that it had then."""

    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.given, self.remembered = [], []

    def learn(self, trajectories):
        self.given.append(trajectories)
        self.remembered.append(set(self.state().tensors))
        return super().learn(trajectories)


def training(folder):
    plan = bandit.small_plan()
    catalogue = Catalogue(tuple(factory.entry for factory in plan.seed_factories.values()))
    policy = Policy(actor=Keeps(CONFIG, catalogue), name="ppo", capabilities=CAPABILITIES)
    return bandit.Training(folder=folder, plan=plan, policy=policy)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    trained = training(tmp_path_factory.mktemp("whole"))
    trained.run()
    return trained


def bits(trained):
    return {name: tensor.tolist() for name, tensor in trained.policy.state().tensors.items()}


def test_it_learns_after_every_round_and_says_how(whole):
    figures = [e.data["figures"] for e in whole.around.events if e.kind is EventKind.ROUND_FINISHED]
    assert len(figures) == bandit.ROUNDS == whole.policy.actor.updates
    assert all(it["steps"] == bandit.EPOCHS * bandit.HOSTS and it["optimizer steps"] > 0 for it in figures)


@pytest.mark.parametrize("at", [(0, 1), (1, 3), (2, 0)], ids=str)
def test_rounds_that_were_cut_go_on_bit_for_bit(whole, tmp_path, at):
    part = training(tmp_path)

    class KilledError(Exception):
        pass

    def save(staged, epoch):
        part.save(staged, epoch)
        if (staged.number, epoch) == at:
            raise KilledError

    with pytest.raises(KilledError):
        run_rounds(part.make_round, part.policy, part.around, after_epoch=save)
    resumed = training(tmp_path)
    resumed.run()

    assert bits(resumed) == bits(whole)


class Lost:
    """An evaluator that must not see one epoch of one host go on."""

    def evaluate(self, signs):
        lost = signs.evidence.epoch == 1 and signs.evidence.host == "grown1"
        return Vote(mode=GovernorMode.STOPPED, reason="lost") if lost else Vote()


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory):
    """A round in whose second epoch one host is rolled back."""
    trained = training(tmp_path_factory.mktemp("rolled-back"))
    trained.plan = evolve(trained.plan, evaluators={"lost": Lost()})
    outcomes = run_rounds(trained.make_round, trained.policy, trained.around, rounds=1, after_epoch=trained.save)
    return trained, outcomes


def test_a_rollback_is_a_terminated_step_of_that_host_alone(rolled_back):
    trained, _ = rolled_back
    (given,) = trained.policy.actor.given
    assert [(it.host, len(it.steps), it.steps[-1].ended) for it in given] == [
        ("grown1", 2, Ended.TERMINATED),
        ("grown0", bandit.EPOCHS, Ended.TRUNCATED),
        ("grown1", bandit.EPOCHS - 2, Ended.TRUNCATED),
    ]
    begins = [[step.decision.memo["begins"] for step in it.steps] for it in given]
    assert begins == [[True, False], [True, False, False, False], [True, False]]


def test_advantages_do_not_reach_over_a_rollback(rolled_back):
    trained, _ = rolled_back
    actor, (given,) = trained.policy.actor, trained.policy.actor.given
    buffer = RolloutBuffer.of(given, actor.encoder, CONFIG.hidden)
    actor.value_what_was_cut_short(buffer, given)
    assert buffer.ends[:, 0].tolist() == [False, True, False, True]
    assert buffer.final_values[1, 0] == 0.0, "nothing comes after it"

    def found(rewards):
        values = (buffer.values, buffer.ends, buffer.final_values)
        return advantages(rewards, *values, gamma=buffer.gamma, gae_lambda=CONFIG.gae_lambda)

    later = buffer.rewards.clone()
    later[2:, 0] += 100.0
    assert torch.equal(found(buffer.rewards)[:2, 0], found(later)[:2, 0])
    assert not torch.equal(found(buffer.rewards)[2:, 0], found(later)[2:, 0])


@pytest.mark.parametrize("at", [(0, 1), (0, 2)], ids=str)
def test_a_round_that_was_cut_around_a_rollback_goes_on_bit_for_bit(rolled_back, tmp_path, at):
    part = training(tmp_path)
    part.plan = evolve(part.plan, evaluators={"lost": Lost()})

    class KilledError(Exception):
        pass

    def save(staged, epoch):
        part.save(staged, epoch)
        if (staged.number, epoch) == at:
            raise KilledError

    with pytest.raises(KilledError):
        run_rounds(part.make_round, part.policy, part.around, rounds=1, after_epoch=save)
    resumed = training(tmp_path)
    resumed.plan = part.plan
    outcomes = run_rounds(resumed.make_round, resumed.policy, resumed.around, rounds=1, begun=resumed.restored())
    whole, expected = rolled_back
    assert bits(resumed) == bits(whole)
    assert [it.rollbacks for it in outcomes[0].finals] == [it.rollbacks for it in expected[0].finals]
    assert [it.test.loss for it in outcomes[0].finals] == [it.test.loss for it in expected[0].finals]


def test_a_host_that_diverges_ends_its_own_trajectory_with_nothing_after_it(tmp_path):
    trained = training(tmp_path)
    staged = trained.make_round(0)
    with torch.no_grad():
        trained.hosts["grown1"].model.head.bias.fill_(torch.nan)
    run_rounds(trained.make_round, trained.policy, trained.around, rounds=1, begun=staged)

    actor = trained.policy.actor
    ((stopped, other),) = actor.given
    assert [(it.host, it.steps[-1].ended) for it in (stopped, other)] == [
        ("grown1", Ended.TERMINATED),
        ("grown0", Ended.TRUNCATED),
    ]
    assert {name for name in actor.remembered[0] if name.startswith("hidden/")} == {"hidden/grown0"}
    buffer = RolloutBuffer.of(actor.given[0], actor.encoder, CONFIG.hidden)
    actor.value_what_was_cut_short(buffer, actor.given[0])
    assert buffer.final_values[0, 0] == 0.0
    assert buffer.valid.sum(0).tolist() == [1, bandit.EPOCHS]
