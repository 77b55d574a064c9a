"""Rounds on the table: whole episodes of hosts in step under any policy, as trajectories to learn from."""

from collections.abc import Sequence

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from esper_adapter_gymnasium.features import Features, History
from esper_adapter_gymnasium.host_record import HostRecord
from esper_adapter_gymnasium.model import Integers, Measured
from esper_adapter_gymnasium.records import Records
from esper_adapter_gymnasium.rewards import TableRewards
from esper_adapter_gymnasium.table import Array
from esper_core.api import (
    WAIT,
    Actor,
    Decision,
    Observation,
    RewardBreakdown,
    Round,
    Situation,
    Step,
    Trajectory,
)
from esper_learning import ObservationSchema


@frozen(kw_only=True)
class VectorObservation(Observation):
    """An observation whose features are known already.

    Attributes:
        vector: of the host and then of its slots.
    """

    vector: NDArray[np.float32]


class KnownVectors(ObservationSchema):
    """The schema, for observations whose features are known: they are not computed again.

    A policy that is given it decides and learns as with the schema itself, only faster; its hash is the same.
    """

    def vector(self, observation: Observation) -> tuple[list[float], list[list[float]]]:
        """Return the features, as `ObservationSchema.vector` does."""
        if not isinstance(observation, VectorObservation):
            return super().vector(observation)
        host = len(self.host)
        return observation.vector[:host].tolist(), observation.vector[host:].reshape(-1, len(self.slot)).tolist()


@frozen(eq=False, kw_only=True)
class Played:
    """A round of episodes.

    Attributes:
        returns: (n,), of each host, with the discount.
        trajectories: of each host, in order.
        last: what the last epoch came to.
    """

    returns: Array
    trajectories: tuple[Trajectory, ...]
    last: Measured


def play_round(
    actor: Actor, rewards: TableRewards, *, hosts: int, number: int = 0, masked: bool = True, name: str = ""
) -> Played:
    """Let hosts grow in step under a policy, each for one episode.

    Args:
        actor: decides for all hosts at once; the first possible action that it gives for a host is carried out.
        rewards: of the table.
        hosts: how many.
        number: of the round.
        masked: the policy is shown which actions are possible. Without it everything seems possible, and what is not
            is a WAIT.
        name: of the policy.
    """
    model, records = rewards.model, Records(rewards.model)
    features, history = Features(model), History.empty(hosts, model.epochs)
    names = tuple(f"host{index}" for index in range(hosts))
    known = [HostRecord(name=it, records=records) for it in names]
    steps: list[list[Step]] = [[] for _ in names]
    actor.reset(Round(number=number, hosts=names, epochs=model.epochs))
    local: Integers = np.zeros((hosts, model.slots), dtype=np.int64)
    before: Measured | None = None
    returns = np.zeros(hosts)
    for epoch in range(model.epochs):
        possible = model.masks(local, before)
        vectors = features.observe(epoch, local, before, possible, history)
        shown = possible if masked else np.ones_like(possible)
        situations = _situations(known, local, before, possible, shown, vectors)
        decisions = [_possible(it, records, row) for it, row in zip(actor.decide(situations), possible, strict=True)]
        action = np.array([records.number(it.actions[0]) if it.actions else 0 for _, it in decisions])
        after, culled = model.advance(epoch, local, action, before)
        measured = model.measure(epoch, after)
        parts = rewards.total(
            rewards.before(epoch, local, before),
            rewards.asked(epoch, local, before, action, culled, measured.gain),
            rewards.after(epoch, after, measured),
        )
        terms = {term: np.broadcast_to(values, (hosts,)) for term, values in parts.items()}
        for row, (decision, carried_out) in enumerate(decisions):
            step = known[row].step(situations[row], carried_out, after[row], measured, row, rewards.gamma)
            breakdown = RewardBreakdown(terms={term: float(values[row]) for term, values in terms.items()})
            steps[row].append(evolve(step, decision=decision, reward=breakdown))
        returns += rewards.gamma**epoch * sum(terms.values(), np.zeros(hosts))
        history.add(np.full(hosts, epoch), measured, action)
        local, before = after, measured
    assert before is not None
    possible = model.masks(local, before)
    vectors = features.observe(model.epochs, local, before, possible, history)
    finals = _situations(known, local, before, possible, possible, vectors)
    trajectories = tuple(
        Trajectory(host=host, round=number, policy=name, steps=tuple(taken), final=final)
        for host, taken, final in zip(names, steps, finals, strict=True)
    )
    return Played(returns=returns, trajectories=trajectories, last=before)


def _situations(
    known: Sequence[HostRecord],
    local: Integers,
    before: Measured | None,
    possible: NDArray[np.bool_],
    shown: NDArray[np.bool_],
    vectors: NDArray[np.float32],
) -> list[Situation]:
    found = []
    for row, host in enumerate(known):
        situation = host.situation(local[row], before, row, possible[row])
        seen = situation.observation
        observation = VectorObservation(host=seen.host, slots=seen.slots, vector=vectors[row])
        found.append(evolve(situation, observation=observation, masks=host.records.masks(shown[row])))
    return found


def _possible(decision: Decision, records: Records, possible: NDArray[np.bool_]) -> tuple[Decision, Decision]:
    """What was decided, and what of it is carried out: the table carries out one action in an epoch."""
    asked = [action for action in decision.actions if possible[records.number(action)]]
    return decision, evolve(decision, actions=asked[:1] or [WAIT])
