"""A warm start: the network takes on what another policy does."""

from collections.abc import Sequence

import pytest
import torch

from esper_core.api import WAIT, Action, Decision, EsperError, Op, Policy, Round, Situation
from esper_policy_ppo.cloning import BehaviourCloning
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.policy import PPO
from esper_testing.situations import CATALOGUE, host_names, situations
from esper_testing.steps import trajectory

EPOCHS, HOSTS = 25, 4

torch.set_num_threads(1)


class Teacher:
    """Culls what it may, else germinates the first blueprint in the first slot that is free."""

    def reset(self, begun: Round) -> None:
        pass

    def decide(self, shown: Sequence[Situation]) -> Sequence[Decision]:
        return [Decision(actions=[self.action(it)]) for it in shown]

    def action(self, situation: Situation) -> Action:
        masks = situation.masks
        for slot in masks.slots:
            if slot in masks.cull:
                return Action(op=Op.CULL, slot=slot)
        for slot in masks.slots:
            for blueprint in CATALOGUE.names:
                if blueprint in masks.blueprints_for(slot):
                    return Action(op=Op.GERMINATE, slot=slot, blueprint=blueprint, blend=masks.blends[0])
        return WAIT


def agreement(pupil: PPO) -> float:
    """In what share of fresh situations the pupil most probably does what the teacher does."""
    sure = PPO(PPOConfig(hidden=64, slot_encoding=32, sample=False), CATALOGUE)
    sure.restore(pupil.state())
    sure.reset(Round(number=50, hosts=host_names(HOSTS), epochs=EPOCHS))
    same = []
    for epoch in range(EPOCHS):
        shown = situations(CATALOGUE, HOSTS, epoch, EPOCHS, 50)
        for situation, decision in zip(shown, sure.decide(shown), strict=True):
            wanted, (action,) = Teacher().action(situation), decision.actions
            same.append((action.op, action.slot, action.blueprint) == (wanted.op, wanted.slot, wanted.blueprint))
    return sum(same) / len(same)


@pytest.mark.slow
def test_the_pupil_does_what_the_teacher_does() -> None:
    pupil = PPO(PPOConfig(hidden=64, slot_encoding=32, learning_rate=3e-3), CATALOGUE)
    cloning = BehaviourCloning(Teacher(), pupil, rounds=4, passes=15)
    policy = Policy(actor=cloning, name="cloning", capabilities={"stateful", "learns"})
    before, losses = agreement(pupil), []
    for number in range(policy.rounds):
        policy.reset(Round(number=number, hosts=host_names(HOSTS), epochs=EPOCHS))
        seen = [situations(CATALOGUE, HOSTS, epoch, EPOCHS, number) for epoch in range(EPOCHS + 1)]
        decided = [policy.decide(shown) for shown in seen[:-1]]
        made = [
            trajectory([row[h] for row in seen[:-1]], [row[h] for row in decided], seen[-1][h], number=number, seed=h)
            for h in range(HOSTS)
        ]
        losses.append(policy.learn(made)["cloning loss"])
    assert losses[-1] < losses[0]
    assert before < 0.5 < 0.75 <= agreement(pupil)
    assert pupil.updates == 0
    assert not pupil.optimizer.state


def test_a_teacher_with_a_memory_is_refused() -> None:
    pupil = PPO(PPOConfig(hidden=16, slot_encoding=8), CATALOGUE)
    with pytest.raises(EsperError, match="has a memory"):
        BehaviourCloning(pupil, pupil)
