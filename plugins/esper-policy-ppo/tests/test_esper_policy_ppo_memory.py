"""A T-maze: what is to be done in the last of twenty epochs was shown in the first one only."""

import pytest
import torch
from attrs import evolve

from esper_core.api import (
    ActionMasks,
    Catalogue,
    CatalogueEntry,
    Ended,
    EpochMetrics,
    Evidence,
    HostSignals,
    Layout,
    LearningCurves,
    Observation,
    RewardBreakdown,
    Round,
    Site,
    Situation,
    SlotSignals,
    SlotState,
    Step,
    Trajectory,
)
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.policy import PPO

LENGTH, HOSTS = 20, 48
SLOTS = ("left", "right")
CATALOGUE = Catalogue((CatalogueEntry(name="mlp", layouts=frozenset({Layout.BD})),))
CONFIG = PPOConfig(
    rounds=60,
    hidden=64,
    slot_encoding=16,
    # There is nothing to wait for here, and no time for smaller steps.
    wait_bias=0.0,
    learning_rate=4e-3,
    final_learning_rate=4e-3,
    update_epochs=10,
    target_kl=0.1,
    entropy_coefficient=0.02,
)
METRICS = EpochMetrics(loss=1.0, accuracy=0.5, samples=10)

torch.set_num_threads(1)


def situation(host: str, epoch: int, cue: int) -> Situation:
    """The cue is the training accuracy before the first epoch; in the last one either slot can be germinated."""
    accuracies = (float(cue),) if epoch == 0 else (0.5,)
    signals = HostSignals(epoch=epoch, epochs=LENGTH, curves=LearningCurves(train_accuracies=accuracies))
    slots = tuple(
        SlotSignals(
            state=SlotState(
                site=Site(id=name, path=name, layout=Layout.BD, width=4, sample_shape=(4,), depth=float(index))
            )
        )
        for index, name in enumerate(SLOTS)
    )
    germinate = {name: frozenset(CATALOGUE.names) for name in SLOTS} if epoch == LENGTH - 1 else {}
    masks = ActionMasks(slots=SLOTS, blueprints=CATALOGUE.names, germinate=germinate)
    return Situation(host=host, observation=Observation(host=signals, slots=slots), masks=masks)


def play(policy: PPO, number: int, *, reset: bool) -> tuple[list[Trajectory], float]:
    """One round; `reset`: the policy forgets every host before every epoch. Return it with the share of right turns."""
    hosts = tuple(f"h{index}" for index in range(HOSTS))
    # As many of each, so that a guess is right in half of them.
    cues = [index % 2 for index in range(HOSTS)]
    policy.reset(Round(number=number, hosts=hosts, epochs=LENGTH))
    steps: list[list[Step]] = [[] for _ in hosts]
    for epoch in range(LENGTH):
        seen = [situation(host, epoch, cue) for host, cue in zip(hosts, cues, strict=True)]
        for host in hosts if reset else ():
            policy.forget(host)
        for index, decision in enumerate(policy.decide(seen)):
            right = decision.actions[0].slot == SLOTS[cues[index]]
            steps[index].append(
                Step(
                    host=hosts[index],
                    round=number,
                    epoch=epoch,
                    epochs=LENGTH,
                    gamma=0.99,
                    observation=seen[index].observation,
                    masks=seen[index].masks,
                    decision=decision,
                    after=Evidence(host=hosts[index], epoch=epoch, train=METRICS, validation=METRICS),
                    ended=Ended.TRUNCATED if epoch == LENGTH - 1 else Ended.NONE,
                    reward=RewardBreakdown(terms={"right": float(right)}),
                )
            )
    final = situation("", LENGTH, 0)
    made = [
        Trajectory(host=host, round=number, policy="", steps=tuple(taken), final=final)
        for host, taken in zip(hosts, steps, strict=True)
    ]
    return made, sum(it.steps[-1].reward.total for it in made) / HOSTS


def learned(*, reset: bool, rounds: int) -> float:
    """Train until it has turned right in three rounds in a row, or for `rounds`; return the share in fresh rounds."""
    policy, recent = PPO(CONFIG, CATALOGUE), [0.0] * 3
    for number in range(rounds):
        trajectories, share = play(policy, number, reset=reset)
        policy.learn(trajectories)
        recent = [*recent[1:], share]
        if min(recent) >= 0.95:
            break
    sure = PPO(evolve(CONFIG, sample=False), CATALOGUE)
    sure.restore(policy.state())
    return sum(play(sure, 1000 + number, reset=reset)[1] for number in range(3)) / 3


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_was_shown_twenty_epochs_ago_is_remembered() -> None:
    assert learned(reset=False, rounds=60) >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_without_the_hidden_state_it_is_not() -> None:
    assert learned(reset=True, rounds=20) <= 0.55
