"""What a policy is asked, what it answers, and what it can learn from. Tensors appear in annotations only."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import Attribute as _Attribute
from attrs import field, frozen

from esper_core.leyline.actions import Action, ActionMasks, Transition, Verdict
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.observation import Observation
from esper_core.leyline.reports import FieldReport, RewardBreakdown
from esper_core.leyline.stages import Stage


@frozen(kw_only=True)
class Round:
    """One training of several fresh hosts in step, under one policy.

    Attributes:
        number: from 0; a policy that learns does so between rounds.
        hosts: their names in the run, in order.
        epochs: its length.
    """

    number: int = 0
    hosts: tuple[str, ...]
    epochs: int


@frozen(kw_only=True)
class Situation:
    """What a policy is asked about: one host before one of its epochs.

    Attributes:
        host: its name, one of the round's.
        observation: what there is to see.
        masks: what is possible.
    """

    host: str
    observation: Observation
    masks: ActionMasks


def _one_for_each_slot(_: Any, attribute: "_Attribute[Any]", actions: tuple[Action, ...]) -> None:
    slots = [action.slot for action in actions]
    if len(set(slots)) < len(slots):
        raise ValueError(f"{attribute.name} of one epoch must be for different slots, not {slots}")


def _tuple_of_actions(actions: Any) -> tuple[Action, ...]:
    return tuple(actions)


@frozen(kw_only=True)
class Decision:
    """A policy's answer for one host and one epoch.

    Attributes:
        actions: none, one, or several for different slots, executed in this order; what is possible is worked out again
            after each. A WAIT with a reason is recorded.
        memo: what the policy wants to find again in the `Step` (log-probabilities, a value, the hidden state before
            it), by name: tensors or plain values. The loop does not look at it.

    Raises:
        ValueError: if two actions are for the same slot.
    """

    actions: tuple[Action, ...] = field(default=(), converter=_tuple_of_actions, validator=_one_for_each_slot)
    memo: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Choice:
    """An action that a policy may choose, and the probability with which it does, 0 to 1."""

    action: Action
    probability: float


@frozen(kw_only=True)
class Explanation:
    """What a policy thinks of a situation.

    Attributes:
        choices: the possible actions with their probabilities, the most probable first.
        value: the discounted rewards that it expects from here on; None if it has no idea.
    """

    choices: tuple[Choice, ...]
    value: float | None = None


class Ended(StrEnum):
    """How a step ends its host's trajectory.

    ``NONE``: it does not. ``TERMINATED``: nothing comes after it, as when a host diverges: its value is 0.
    ``TRUNCATED``: training ended as planned, or was cut short; `Step.terminal` tells the two apart.
    """

    NONE = "none"
    TERMINATED = "terminated"
    TRUNCATED = "truncated"


@frozen(kw_only=True)
class Step:
    """One epoch of one host: what its policy saw and did, and what came of it.

    Attributes:
        host: its name in the run.
        round: number of the round, from 0.
        epoch: the epoch that was trained, from 0.
        epochs: length of the round in epochs.
        gamma: the run's discount, 0 to 1; a potential-based reward is only that with the learner's own.
        observation, masks: what the policy was shown before the epoch.
        decision: what it asked for, with its memo.
        verdicts: the governor's answers, one for each action.
        before: what was measured after the epoch before; None in the first one.
        after: what was measured after this epoch.
        twin_before, twin: the twin's evidence of the same two epochs; None without a twin.
        transitions: every change of a seed's stage in this step, those that came by themselves included.
        seed_reports: of the seeds that ended in it.
        ended: whether and how the trajectory ends here.
        reward: what the step was worth; None while reward terms are asked, and without any.
    """

    host: str
    round: int = 0
    epoch: int
    epochs: int
    gamma: float = 1.0
    observation: Observation
    masks: ActionMasks
    decision: Decision = Decision()
    verdicts: tuple[Verdict, ...] = ()
    before: Evidence | None = None
    after: Evidence
    twin_before: Evidence | None = None
    twin: Evidence | None = None
    transitions: tuple[Transition, ...] = ()
    seed_reports: tuple[FieldReport, ...] = ()
    ended: Ended = Ended.NONE
    reward: RewardBreakdown | None = None

    @property
    def terminal(self) -> bool:
        """Whether nothing after this step counts: the host was stopped, or the round is over as planned.

        How many epochs are left is in the observation, so the planned end belongs to the task, and the value after it
        is 0 (Pardo et al., 2018, section 3). Only a trajectory that is cut short before has a value to come.
        """
        planned = self.ended is Ended.TRUNCATED and self.epoch + 1 >= self.epochs
        return planned or self.ended is Ended.TERMINATED

    def stages_before(self) -> dict[str, Stage]:
        """The stage of every slot as the policy saw it."""
        return {slot.slot: slot.state.stage for slot in self.observation.slots}

    def stages_after(self) -> dict[str, Stage]:
        """The stage of every slot after the step: only transitions change one."""
        return self.stages_before() | {change.slot: change.target for change in self.transitions}


@frozen(kw_only=True)
class Trajectory:
    """The steps of one host in one round, in order. The last one says how it ended.

    Attributes:
        host: its name in the run.
        round: number of the round, from 0.
        policy: name and version of the policy that decided.
        steps: without a gap.
        final: the host after its last step: what a trajectory is valued by that was cut short.
    """

    host: str
    round: int
    policy: str
    steps: tuple[Step, ...]
    final: Situation


@frozen(kw_only=True)
class PolicyState:
    """Everything that a policy's later decisions depend on, beyond what it is shown: weights, hidden states, counters.

    Attributes:
        tensors: by name; saved as tensors.
        record: primitives, lists and mappings with text for keys.
        version: of the policy's own format.
    """

    tensors: Mapping[str, Any] = field(factory=dict)
    record: Mapping[str, Any] = field(factory=dict)
    version: int = 1
