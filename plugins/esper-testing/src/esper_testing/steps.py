"""Made-up steps and trajectories: for reward terms and learners, the same at every call."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random

from attrs import evolve

from esper_core.leyline.actions import Transition, Verdict
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.learning import Decision, Ended, Situation, Step, Trajectory
from esper_core.leyline.observation import Observation, SlotSignals
from esper_core.leyline.reports import RewardBreakdown
from esper_core.leyline.stages import TRANSITIONS, Cause, Stage
from esper_testing.samples import host_evidence, transitions
from esper_testing.situations import CATALOGUE, situations

GAMMA = 0.9


def any_step(seed: int) -> Step:
    """Return a step of any kind: the first one or a later one, the last one or not, with a twin or without."""
    draw = Random(seed)
    before, after, twin_before, twin = host_evidence(4, seed=seed)
    situation = situations(CATALOGUE, 1, draw.randrange(20), 20, seed)[0]
    with_twin, later = draw.random() < 0.6, draw.random() < 0.8
    return Step(
        host="grown",
        epoch=after.epoch,
        epochs=20,
        gamma=GAMMA,
        observation=situation.observation,
        masks=situation.masks,
        before=before if later else None,
        after=after,
        twin_before=twin_before if later and with_twin else None,
        twin=twin if with_twin else None,
        transitions=tuple(transitions(seed)),
        ended=draw.choice(list(Ended)),
    )


def path(seed: int, detour: int, *, terminated: bool = False) -> tuple[Step, Step]:
    """Return two steps in a row, measured soundly, whose beginning and end depend on `seed` alone.

    What lies between the two depends on `detour` as well.
    """
    begin, end, between = Random(f"begin {seed}"), Random(f"end {seed}"), Random(f"between {seed} {detour}")
    situation = situations(CATALOGUE, 1, 3, 20, seed)[0]
    first, last = _stage(begin), _stage(end)
    # Never a stage that lasts: so nothing of the end, not even how long its stage has lasted, depends on the detour.
    middle = between.choice([s for s in Stage if s not in (first, last) and _way(first, s) and _way(s, last)])
    measured = [_sound(draw, epoch) for epoch, draw in enumerate((begin, between, end))]
    steps = [
        Step(
            host="grown",
            epoch=index,
            epochs=20,
            gamma=GAMMA,
            observation=_at(situation.observation, source, epochs=1),
            masks=situation.masks,
            before=measured[index],
            after=measured[index + 1],
            transitions=tuple(_moves(situation.observation.slots[0].slot, source, target, index)),
        )
        for index, (source, target) in enumerate(((first, middle), (middle, last)))
    ]
    return steps[0], evolve(steps[1], ended=Ended.TERMINATED if terminated else Ended.NONE)


def trajectory(
    seen: Sequence[Situation], decisions: Sequence[Decision], final: Situation, *, number: int, seed: int
) -> Trajectory:
    """Return the trajectory of one host that was shown this and decided that in a round, with made-up rewards."""
    draw = Random(seed)
    measured = [_sound(draw, epoch) for epoch in range(len(seen) + 1)]
    ended = draw.choice((Ended.TERMINATED, Ended.TRUNCATED))
    steps = tuple(
        Step(
            host=situation.host,
            round=number,
            epoch=epoch,
            epochs=len(seen),
            gamma=GAMMA,
            observation=situation.observation,
            masks=situation.masks,
            decision=decision,
            verdicts=tuple(Verdict(action_id=action.id, allowed=True) for action in decision.actions),
            before=measured[epoch] if epoch else None,
            after=measured[epoch + 1],
            ended=ended if epoch + 1 == len(seen) else Ended.NONE,
            reward=RewardBreakdown(terms={"made up": draw.uniform(-1.0, 1.0)}),
        )
        for epoch, (situation, decision) in enumerate(zip(seen, decisions, strict=True))
    )
    return Trajectory(host=final.host, round=number, policy="made up", steps=steps, final=final)


def _stage(draw: Random) -> Stage:
    # From a fossil no way leads on.
    return draw.choice([stage for stage in Stage if stage is not Stage.FOSSILIZED])


def _sound(draw: Random, epoch: int) -> Evidence:
    train, validation = (
        EpochMetrics(loss=draw.uniform(0.1, 3.0), accuracy=draw.random(), samples=400) for _ in range(2)
    )
    parameters = draw.randrange(1000, 2000)
    return Evidence(
        host="grown", epoch=epoch, train=train, validation=validation, parameters=parameters, host_parameters=1000
    )


def _at(observation: Observation, stage: Stage, *, epochs: int) -> Observation:
    first, *others = observation.slots
    state = evolve(first.state, stage=stage, epochs_in_stage=epochs)
    return evolve(observation, slots=(SlotSignals(state=state), *others))


def _moves(slot: str, source: Stage, target: Stage, epoch: int) -> Iterator[Transition]:
    way = _way(source, target) or [source]
    for one, other in pairwise(way):
        yield Transition(
            slot=slot,
            seed_id=f"{slot}-0",
            blueprint="conv-light",
            source=one,
            target=other,
            epoch=epoch,
            epochs_in_source=1,
            cause=Cause.GATE,
        )


def _way(source: Stage, target: Stage) -> list[Stage] | None:
    """Return the shortest way from one stage to another along the transitions that exist."""
    ways = deque([[source]])
    seen = {source}
    while ways:
        way = ways.popleft()
        if way[-1] is target:
            return way
        for one, other in TRANSITIONS:
            if one is way[-1] and other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return None
