"""A decision of a recorded run, repeated: what the policy saw and thought, and what else would have come."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING, Any

from attrs import frozen

from esper_core.api import Action, EsperError, Event, EventKind, Explanation, Situation, did_you_mean, plain, to_json
from esper_learning import Feature, ObservationSchema, possible_actions
from esper_runs.event_log import read_event_log
from esper_runs.reading import reading
from esper_runs.run_directory import EVENTS, MANIFEST, RunDirectory

if TYPE_CHECKING:
    from esper_app.api import Replay, Resolved

#: What clocks say; everything else of an event must be repeated exactly.
_TIMES = frozenset({"seconds", "train_seconds", "measure_seconds"})


@frozen(kw_only=True)
class Seen:
    """A feature as a policy that reads numbers sees it.

    Attributes:
        feature: its row in the table of the observation.
        values: of the host, or of each slot in order.
    """

    feature: Feature
    values: tuple[float, ...]


@frozen(kw_only=True)
class Came:
    """What came of an action, at the end of the round. Accuracies are 0 to 1, losses in nats; None where not known.

    Attributes:
        action: what was done.
        probability: with which the policy would have done it; None if it does not say.
        allowed: the governor let it happen.
        accuracy, loss: of the network on the test split.
        total_reward: the sum of the rewards from that epoch on; None without rewards.
        parameters: of the network.
        kept: how many of its seeds were fossilized.
    """

    action: Action
    probability: float | None
    allowed: bool
    accuracy: float | None
    loss: float | None
    total_reward: float | None
    parameters: int
    kept: int


@frozen(kw_only=True)
class Explained:
    """A decision.

    Attributes:
        run: the run's name.
        host, round, epoch: whose, and when, from 0.
        policy: name and version.
        situation: what the policy was shown.
        explanation: what it thought of it; None if it does not say.
        actions: what it did.
        host_features, slot_features: what there was to see, as numbers.
        slots: names of the slots, in order.
        compared: how many events of the record were repeated, all exactly.
        outcomes: what came of what it did, and then of the alternatives; none unless asked for.
    """

    run: str
    host: str
    round: int
    epoch: int
    policy: str
    situation: Situation
    explanation: Explanation | None
    actions: tuple[Action, ...]
    host_features: tuple[Seen, ...]
    slot_features: tuple[Seen, ...]
    slots: tuple[str, ...]
    compared: int
    outcomes: tuple[Came, ...] = ()


def explained(
    directory: RunDirectory, resolved: "Resolved", place: tuple[int, int], host: str | None, alternatives: int
) -> Explained:
    """Repeat a decision, and if asked for what other actions lead to.

    Args:
        directory: the run's.
        resolved: its configuration.
        place: number of the round, and epoch, both from 0.
        host: its name; None: the first one.
        alternatives: how many other actions are tried.

    Raises:
        EsperError: E520 if the run has no such host, round or epoch, E518 if it cannot be repeated exactly, and
            whatever keeps it from being repeated.
    """
    # Imported here: help needs no torch.
    from esper_app.api import replay_run

    number, epoch = place
    replay = replay_run(directory, resolved.configuration, resolved.plugins, place)
    try:
        replay.advance(number, epoch)
        if replay.over or replay.place != place:
            raise _nowhere(directory, f"epoch {epoch + 1}", f"its round ended after {replay.place[1]}")
        memory = replay.remember()
        replay.step()
        # After the step: what was done in this epoch must be what the record says as well.
        compared = compare(directory, replay.services.events)
        asked = {it.situation.host: it for it in replay.asked if it.situation.observation.host.epoch == epoch}
        name = next(iter(asked), "") if host is None else host
        if name not in asked:
            raise _nowhere(directory, f'host "{name}" in this epoch', None, did_you_mean(name, asked))
        found = asked[name]
        tried = _alternatives(found.situation, found.explanation, found.decision.actions)[:alternatives]
        outcomes: list[Came] = []
        if alternatives:
            for action in (None, *tried):
                replay.return_to(memory)
                outcomes.append(_came_of(replay, name, epoch, action, found.decision.actions, found.explanation))
        return Explained(
            run=directory.name,
            host=name,
            round=number,
            epoch=epoch,
            policy=replay.policy_name,
            situation=found.situation,
            explanation=found.explanation,
            actions=found.decision.actions,
            **_features(found.situation),
            slots=found.situation.masks.slots,
            compared=compared,
            outcomes=tuple(outcomes),
        )
    finally:
        replay.close()


def _features(situation: Situation) -> dict[str, tuple[Seen, ...]]:
    """Return what the policy saw, by feature: of the host, and of each slot."""
    schema = ObservationSchema(situation.masks.blueprints)
    numbers, slots = schema.vector(situation.observation)
    return {
        "host_features": tuple(
            Seen(feature=it, values=(value,)) for it, value in zip(schema.host, numbers, strict=True)
        ),
        "slot_features": tuple(
            Seen(feature=it, values=tuple(row[index] for row in slots)) for index, it in enumerate(schema.slot)
        ),
    }


def compare(directory: RunDirectory, events: Sequence[Event]) -> int:
    """Compare the events of a replay with a run's record, but for times; return how many there were.

    Raises:
        EsperError: E518 at the first one that is not in the record as it is here.
    """
    recorded: dict[Any, list[Any]] = {}
    with reading("the record of events", directory.path / EVENTS):
        for written in _events_of(directory):
            recorded.setdefault(_place_of(written), []).append(_timeless(written["data"]))
    compared = 0
    for event in events:
        # What is not written by default, is about the run as a whole, or what plugins tell, which may be of services.
        if event.level > 2 or event.host == "" or "." in event.kind:
            continue
        as_written = {"kind": str(event.kind), "host": event.host, "epoch": event.epoch, "round": event.round}
        there = recorded.get(_place_of(as_written), [])
        if not there:
            continue  # the record is of a lower level, or has lost events
        if _timeless(_through_json(plain(event.data))) not in there:
            what = f'run "{directory.name}" cannot be repeated exactly'
            why = f"{event.kind} of {event.host} in epoch {(event.epoch or 0) + 1} is not what was recorded"
            fix = "use the machine and the versions of its manifest; other processors and thread counts give other bits"
            raise EsperError("E518", what, where=str(directory.path), why=why, fix=fix)
        compared += 1
    return compared


def seconds_per_epoch(directory: RunDirectory) -> float | None:
    """Return how long an epoch of all hosts took, by the times in the record; None if it does not say."""
    ends: dict[tuple[int, int], float] = {}
    with reading("the record of events", directory.path / EVENTS):
        for event in _events_of(directory):
            if event["kind"] == EventKind.EPOCH_COMPLETED and isinstance(event.get("time"), int | float):
                ends[event.get("round", 0), event["epoch"]] = event["time"]
        times = [ends[place] for place in sorted(ends)]
    steps = [later - sooner for sooner, later in pairwise(times) if isfinite(later - sooner) and later > sooner]
    return median(steps) if steps else None


def _events_of(directory: RunDirectory) -> tuple[Mapping[str, Any], ...]:
    log = read_event_log(directory.path / EVENTS, inside=directory.path)
    return () if log is None else log.events


def epochs_to_run(
    directory: RunDirectory, began: tuple[int, int], place: tuple[int, int], alternatives: int
) -> tuple[int, int]:
    """Return how many epochs lie before the end of the one at a place, and how many the alternatives take."""
    config = directory.read_json(MANIFEST).get("config", {})
    length = config.get("epochs", 0)
    there = (place[0] - began[0]) * length + place[1] + 1 - began[1]
    return there, (length - place[1]) * (alternatives + 1) if alternatives else 0


def _alternatives(situation: Situation, explanation: Explanation | None, done: Sequence[Action]) -> list[Action]:
    """What else was possible: the most probable first, or, of a policy that does not say, each operation in turn."""
    did = {_key(action) for action in done} or {_key(Action())}
    if explanation is not None:
        return [it.action for it in explanation.choices if _key(it.action) not in did]
    waiting: dict[Any, list[Action]] = {}
    for action in possible_actions(situation.masks):
        if _key(action) not in did:
            waiting.setdefault(action.op, []).append(action)
    found: list[Action] = []
    while any(waiting.values()):
        found += [actions.pop(0) for actions in waiting.values() if actions]
    return found


def _came_of(
    replay: "Replay",
    host: str,
    epoch: int,
    action: Action | None,
    done: Sequence[Action],
    explanation: Explanation | None,
) -> Came:
    """Run on to the end of the round; None: with what the policy did."""
    before = len(replay.services.events)
    replay.step({} if action is None else {host: action})
    denied = any(
        event.kind is EventKind.ACTION_DENIED and event.host == host for event in replay.services.events[before:]
    )
    replay.finish_round()
    finals, _ = replay.finish()
    final = next(it for it in finals if it.host == host)
    rewards = replay.rewards[host][epoch:]
    shown = action or next(iter(done), Action())
    chances = {_key(it.action): it.probability for it in explanation.choices} if explanation is not None else {}
    return Came(
        action=shown,
        probability=chances.get(_key(shown)),
        allowed=not denied,
        accuracy=final.test.accuracy if isfinite(final.test.accuracy) else None,
        loss=final.test.loss if isfinite(final.test.loss) else None,
        total_reward=sum(rewards) if rewards else None,
        parameters=final.parameters,
        kept=sum(it.final_stage.name == "FOSSILIZED" for it in final.seeds),
    )


def _key(action: Action) -> tuple[Any, ...]:
    return action.op, action.slot, action.blueprint, action.blend


def _place_of(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return event["kind"], event["host"], event.get("epoch"), event.get("round", 0)


def _timeless(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _timeless(value) for key, value in data.items() if key not in _TIMES}
    return [_timeless(item) for item in data] if isinstance(data, list | tuple) else data


def _through_json(data: Any) -> Any:
    return json.loads(to_json(data))


def _nowhere(directory: RunDirectory, what: str, why: str | None, fix: str | None = None) -> EsperError:
    return EsperError("E520", f'run "{directory.name}" has no {what}', where=str(directory.path), why=why, fix=fix)
