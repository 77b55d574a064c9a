"""A warm start: learn to decide as another policy does, before learning from rewards (behaviour cloning)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from attrs import evolve
from torch.nn.utils import clip_grad_norm_

from esper_core.api import (
    WAIT,
    Action,
    Actor,
    Decision,
    EsperError,
    Op,
    PolicyState,
    RewardBreakdown,
    Round,
    Situation,
    Step,
    Trajectory,
    derive_seed,
)
from esper_policy_ppo.inputs import HEADS
from esper_policy_ppo.rollout_buffer import Minibatch, RolloutBuffer
from esper_policy_ppo.update import evaluate

if TYPE_CHECKING:
    from esper_policy_ppo.policy import PPO


class BehaviourCloning:
    """Decides as a teacher does, and teaches it to a pupil after each round. It learns and is stateful.

    Afterwards ``pupil.state()`` is what another run of `ppo` begins with.

    Args:
        teacher: decides; a policy without a memory, such as `heuristic` or `periodic`.
        pupil: learns.
        rounds: how many rounds are wanted.
        passes: over each round's steps.

    Raises:
        EsperError: E202 if the teacher has a memory, which would not be saved.
    """

    def __init__(self, teacher: Actor, pupil: "PPO", *, rounds: int = 1, passes: int = 20) -> None:
        if hasattr(teacher, "state"):
            raise EsperError("E202", "the teacher has a memory", fix="learn from one that has none, such as heuristic")
        self.teacher, self.pupil, self.rounds, self.passes = teacher, pupil, rounds, passes

    def reset(self, begun: Round) -> None:
        """Begin a round."""
        self.teacher.reset(begun)

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Return the teacher's decisions."""
        return self.teacher.decide(situations)

    def learn(self, trajectories: Sequence[Trajectory]) -> Mapping[str, float]:
        """Teach the pupil what was decided in a round."""
        return clone(self.pupil, trajectories, passes=self.passes)

    def state(self) -> PolicyState:
        """Return the pupil's state."""
        return self.pupil.state()

    def restore(self, state: PolicyState) -> None:
        """Go on from a pupil's state."""
        self.pupil.restore(state)


def clone(pupil: "PPO", trajectories: Sequence[Trajectory], *, passes: int) -> Mapping[str, float]:
    """Raise the probability of what was decided in a round, by whichever policy; return figures about it.

    Of several actions in one epoch the first is taught, since `ppo` has one. What the governor denied is a WAIT.
    Values, returns and PPO's own optimizer are left alone.

    Args:
        pupil: is taught.
        trajectories: of a round.
        passes: over its steps.
    """
    buffer = RolloutBuffer.of([_taught(pupil, it) for it in trajectories], pupil.encoder, pupil.config.hidden)
    pupil.network.host_moments.update(buffer.inputs.host[buffer.valid])
    pupil.network.slot_moments.update(buffer.inputs.slots[buffer.valid][buffer.inputs.present[buffer.valid]])
    parameters = list(pupil.network.parameters())
    optimizer = torch.optim.Adam(
        parameters, lr=pupil.config.learning_rate, eps=pupil.config.adam_epsilon, foreach=False
    )
    order = torch.Generator().manual_seed(derive_seed(pupil.config.seed, "cloning", int(buffer.steps)))
    spans, losses = buffer.sequences(None), [0.0]
    for _ in range(passes):
        losses = []
        for part in torch.randperm(len(spans), generator=order).tensor_split(min(pupil.config.minibatches, len(spans))):
            batch = Minibatch.of(buffer, [spans[index] for index in part.tolist()])
            judged = evaluate(pupil.network, buffer, batch)
            used = judged.mattered & batch.valid[..., None]
            # A mean by head, as in the update: otherwise waiting would drown everything that is seldom done.
            per_head = torch.where(used, judged.log_probs, 0.0).sum((0, 1)) / used.sum((0, 1)).clamp(min=1)
            loss = -per_head.sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            clip_grad_norm_(parameters, pupil.config.max_gradient_norm)
            optimizer.step()
            losses.append(float(loss.detach()))
    return {"cloning loss": sum(losses) / len(losses), "steps": float(buffer.steps)}


def _taught(pupil: "PPO", trajectory: Trajectory) -> Trajectory:
    """The trajectory as if the pupil had decided it, with a memory that begins at its first step."""
    steps = [_as_the_pupils(pupil, step, first=index == 0) for index, step in enumerate(trajectory.steps)]
    return evolve(trajectory, steps=tuple(steps))


def _as_the_pupils(pupil: "PPO", step: Step, *, first: bool) -> Step:
    memo = {
        "chosen": pupil.encoder.chosen(_done(step), step.masks),
        "log_probs": [0.0] * len(HEADS),
        "value": 0.0,
        "hidden": torch.zeros(2, pupil.config.hidden),
        "begins": first,
    }
    # Neither rewards nor their discount play a part; those of several runs may differ.
    return evolve(step, decision=evolve(step.decision, memo=memo), reward=RewardBreakdown(terms={}), gamma=1.0)


def _done(step: Step) -> Action:
    allowed = {verdict.action_id for verdict in step.verdicts if verdict.allowed}
    asked = [action for action in step.decision.actions if action.op is not Op.WAIT and action.id in allowed]
    return asked[0] if asked else WAIT
