"""Rounds with fresh hosts, and a policy that learns between them; killed at any time they go on bit for bit."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attrs import evolve

from esper_core.leyline.events import EventKind
from esper_core.leyline.learning import Ended
from esper_core.leyline.streams import derive_seed
from esper_core.simic.loop import run_round
from esper_core.simic.rounds import round_seed, run_rounds
from esper_core.tamiyo.actors import NullActor
from esper_core.tamiyo.policy import Policy
from esper_core.tolaria.host import GrowingHost

SCRIPT = Path(__file__).with_name("bandit.py")
_spec = importlib.util.spec_from_file_location("esper_test_bandit", SCRIPT)
bandit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bandit)

EPOCHS, HOSTS, ROUNDS = bandit.EPOCHS, bandit.HOSTS, bandit.ROUNDS


class Keeps(bandit.Bandit):
    """The bandit that keeps what it learned from."""

    def __init__(self):
        super().__init__()
        self.given = []
        self.forgotten = []

    def forget(self, host):
        self.forgotten.append(host)
        super().forget(host)

    def learn(self, trajectories):
        self.given.append(trajectories)
        return super().learn(trajectories)


def training(folder):
    policy = Policy(actor=Keeps(), name="bandit", capabilities=bandit.CAPABILITIES)
    return bandit.Training(folder=folder, plan=bandit.small_plan(), policy=policy)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nobody interrupted, and what came of its rounds."""
    trained = training(tmp_path_factory.mktemp("whole"))
    return trained, trained.run()


def test_every_round_has_fresh_hosts_and_the_policy_learns_between_them(whole):
    trained, outcomes = whole
    assert len(outcomes) == len(trained.policy.actor.given) == ROUNDS
    assert len({outcome.twins[0].test.loss for outcome in outcomes}) == ROUNDS, "each round has streams of its own"
    finished = [event for event in trained.around.events if event.kind is EventKind.ROUND_FINISHED]
    assert [event.round for event in finished] == [0, 1, 2]
    assert [event.data["rewards"]["grown0"] for event in finished] == [list(o.rewards[0]) for o in outcomes]
    assert set(finished[0].data["figures"]) == {"worth of tanh", "worth of random"}
    decided = [event for event in trained.around.events if event.kind is EventKind.ACTION_DECIDED]
    assert [(event.round, event.data["id"]) for event in decided][::2] == [
        (0, "grown0/1"),
        (1, "grown0/round-1/1"),
        (2, "grown0/round-2/1"),
    ]


def test_the_first_round_is_the_run_that_it_always_was(whole, tmp_path):
    alone, first = training(tmp_path), whole[1][0]
    staged = alone.make_round(0)

    outcome = run_round(staged.rollout, staged.twin, alone.around, epochs=EPOCHS)

    assert [final.test.loss for final in outcome.finals] == [final.test.loss for final in first.finals]
    assert outcome.rewards == first.rewards
    assert (round_seed(7, 0), round_seed(7, 2)) == (7, derive_seed(7, "round", 2))


def test_a_learner_is_given_whole_trajectories_with_rewards_and_what_it_has_noted(whole):
    trained, outcomes = whole
    for number, (given, outcome) in enumerate(zip(trained.policy.actor.given, outcomes, strict=True)):
        assert [trajectory.host for trajectory in given] == ["grown0", "grown1"]
        for trajectory, rewards in zip(given, outcome.rewards, strict=True):
            assert [step.epoch for step in trajectory.steps] == list(range(EPOCHS))
            assert [step.reward.total for step in trajectory.steps] == list(rewards)
            assert [step.ended for step in trajectory.steps] == [Ended.NONE] * (EPOCHS - 1) + [Ended.TRUNCATED]
            assert {(step.round, step.gamma) for step in trajectory.steps} == {(number, 0.9)}
            assert (trajectory.round, trajectory.policy) == (number, "bandit")
            assert trajectory.final.observation.host.epoch == EPOCHS
            assert trajectory.final.observation.host.validation_loss == trajectory.steps[-1].after.validation.loss
            assert all(step.after.validation.sample_losses is None for step in trajectory.steps)
            assert "worth" in trajectory.steps[1].decision.memo


def test_a_host_that_diverged_gives_a_shorter_trajectory_that_is_terminated(tmp_path):
    trained = training(tmp_path)
    staged = trained.make_round(0)
    with torch.no_grad():
        trained.hosts["grown1"].model.head.bias.fill_(torch.nan)
    run_rounds(trained.make_round, trained.policy, trained.around, rounds=1, begun=staged)

    assert ends(trained) == {"grown0": (EPOCHS, Ended.TRUNCATED), "grown1": (1, Ended.TERMINATED)}
    assert trained.policy.actor.forgotten == ["grown1"], "its hidden state, and nobody else's"


def test_what_a_failed_host_did_before_is_learned_from_as_cut_short(tmp_path):
    trained = training(tmp_path)
    staged = trained.make_round(0)
    host = trained.hosts["grown0"]

    def fail(epoch):
        if epoch == 2:
            raise RuntimeError("out of memory")
        return GrowingHost._train(host, epoch)

    host._train = fail
    run_rounds(trained.make_round, trained.policy, trained.around, rounds=1, begun=staged)

    assert ends(trained) == {"grown0": (2, Ended.TRUNCATED), "grown1": (EPOCHS, Ended.TRUNCATED)}
    (cut_short, _) = trained.policy.actor.given[0]
    assert cut_short.final.observation.host.epoch == 2
    assert trained.policy.actor.forgotten == []


def ends(trained):
    """How long each trajectory of the first round is, and how it ended."""
    return {it.host: (len(it.steps), it.steps[-1].ended) for it in trained.policy.actor.given[0]}


def test_nothing_is_learned_from_a_round_that_was_interrupted(tmp_path):
    trained = training(tmp_path)
    trained.around.stop_after = 4

    (outcome,) = run_rounds(trained.make_round, trained.policy, trained.around)

    assert outcome.interrupted
    assert trained.policy.actor.given == []
    assert not [event for event in trained.around.events if event.kind is EventKind.ROUND_FINISHED]


def test_a_policy_that_does_not_learn_has_one_round_and_no_trajectories(tmp_path):
    trained = training(tmp_path)
    trained.policy = Policy(actor=NullActor())
    staged = trained.make_round(0)

    assert len(run_rounds(trained.make_round, trained.policy, trained.around, begun=staged)) == 1
    assert staged.rollout.trajectories() == ()
    assert "steps" not in staged.rollout.state().tensors


@pytest.mark.parametrize("at", [(1, 2), (2, 1)], ids=str)
def test_trajectories_in_the_middle_of_a_round_survive_a_checkpoint(whole, tmp_path, at):
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

    found, expected = resumed.policy.actor.given[-1], whole[0].policy.actor.given[-1]
    assert [comparable(it) for it in found] == [comparable(it) for it in expected]
    for one, other in zip(found, expected, strict=True):
        for step, same in zip(one.steps, other.steps, strict=True):
            assert notes(step) == notes(same)


def comparable(trajectory):
    """Without memos, whose tensors do not compare, and without what clocks say."""
    return evolve(trajectory, steps=tuple(timeless(step) for step in trajectory.steps), final=trajectory.final)


def timeless(step):
    def of(evidence):
        if evidence is None:
            return None
        train, validation = (evolve(it, seconds=0.0) for it in (evidence.train, evidence.validation))
        return evolve(evidence, train=train, validation=validation)

    return evolve(
        step,
        decision=evolve(step.decision, memo={}),
        before=of(step.before),
        after=of(step.after),
        twin_before=of(step.twin_before),
        twin=of(step.twin),
    )


def notes(step):
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in step.decision.memo.items()}


@pytest.mark.slow
@pytest.mark.parametrize("at", [(0, 1), (0, EPOCHS - 1), (2, 0)], ids=str)
def test_rounds_that_are_killed_go_on_bit_for_bit(tmp_path, at):
    def run(folder, *kill):
        folder.mkdir(exist_ok=True)
        command = [sys.executable, str(SCRIPT), str(folder), *kill]
        return subprocess.run(command, check=False, capture_output=True, timeout=300)

    assert run(tmp_path / "whole").returncode == 0
    killed = run(tmp_path / "part", "--kill", *map(str, at))
    assert killed.returncode == 9, killed.stderr
    assert not (tmp_path / "part" / "policy.safetensors").exists()
    assert run(tmp_path / "part").returncode == 0

    assert (tmp_path / "part/policy.safetensors").read_bytes() == (tmp_path / "whole/policy.safetensors").read_bytes()
    assert events(tmp_path / "part") == events(tmp_path / "whole")


def events(folder):
    return [without(json.loads(line)) for line in (folder / "events.jsonl").read_text().splitlines()]


def without(data):
    if isinstance(data, dict):
        return {name: without(value) for name, value in data.items() if "seconds" not in name}
    return [without(item) for item in data] if isinstance(data, list) else data
