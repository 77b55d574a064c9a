"""What the screen shows of a run, as data: every figure that `esper watch` draws is in here.

`read` looks at a run's directory once; `shown` says what is shown of a run that is being followed. Epochs are counted
from 0, accuracies are 0 to 1, losses in nats, as in a run's files.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from esper_app_watch.records import ANOMALY as ANOMALY
from esper_app_watch.records import HEALTH as HEALTH
from esper_app_watch.records import Shown as Shown
from esper_app_watch.records import ShownHost as ShownHost
from esper_app_watch.records import ShownRound as ShownRound
from esper_app_watch.records import ShownSlot as ShownSlot
from esper_app_watch.state import CURVES, UNFIT, RunState
from esper_core.api import GovernorMode
from esper_runs.event_log import EventLog
from esper_runs.formatting import as_number
from esper_runs.metrics import MetricReader
from esper_runs.missing_data import missing_data
from esper_runs.result import UNFINISHED, is_twin, twin_of
from esper_runs.run_directory import RunDirectory
from esper_runs.run_follower import RunFollower
from esper_runs.run_record import is_going_on_again
from esper_runs.several_hosts import result_in_words


def read(directory: RunDirectory) -> Shown:
    """Return what is shown of a run as its files stand now."""
    state, follower = RunState(directory.name, str(directory.path)), RunFollower(directory)
    while True:
        state.follow(follower)
        if not state.left:
            return shown(state)


def shown(state: RunState) -> Shown:
    """Return what is shown of a run that is being followed."""
    result = _result(state)
    board = state.board
    outcome = str(result.get("outcome")) if result else UNFINISHED
    config = (state.manifest or {}).get("config") or {}
    rounds = ((state.manifest or {}).get("training") or {}).get("rounds")
    unfit: list[str] = []
    hosts = _understood("the last epochs", lambda: _hosts(state), unfit) or {}
    ends = [host.epochs for name, host in hosts.items() if not is_twin(name)]
    said = _understood("the result", lambda: tuple(result_in_words(result)) if result else (), unfit) or ()
    seeds = _understood("what became of the seeds", lambda: _seeds(state, result), unfit) or ()
    learned = _understood("a round", lambda: tuple(map(_round, state.rounds)), unfit) or ()
    found = _understood("what is missing", lambda: tuple(_problems(state, result)), unfit) or ()
    return Shown(
        name=state.name,
        title=board.title,
        directory=state.directory,
        outcome=outcome,
        epochs_done=max(ends, default=0),
        planned_epochs=None if config.get("flops") else _whole(config.get("epochs")),
        round=state.round if rounds or state.round else None,
        planned_rounds=_whole(rounds),
        seconds_left=_seconds_left(state, rounds) if result is None else None,
        hosts=hosts,
        seeds=seeds,
        gates=state.gates.table(several_hosts=len(ends) > 1),
        rounds=learned,
        result=result,
        verdict=said,
        decisions=tuple(state.decisions),
        notes=tuple(state.notes),
        events=state.count,
        last_event=state.last_event,
        problems=(*found, *unfit),
        reading=state.left,
    )


def _result(state: RunState) -> Mapping[str, Any] | None:
    if state.result is not None and not is_going_on_again(state.manifest or {}, state.count, bool(state.finished)):
        return state.result
    return state.finished


T = TypeVar("T")


def _understood(what: str, find: Callable[[], T], problems: list[str]) -> T | None:
    """Find something in files that may be of any shape; if that fails, say so among the problems."""
    try:
        return find()
    except UNFIT as error:
        problems.append(f"[E508] {what} cannot be understood: {type(error).__name__}: {error}")
        return None


def _problems(state: RunState, result: Mapping[str, Any] | None) -> Iterator[str]:
    for error in state.problems:
        yield "; ".join(filter(None, (f"[{error.code}] {error.what}", error.why, error.fix and f"fix: {error.fix}")))
    if state.misfits:
        count = f"{state.misfits} {'event' if state.misfits == 1 else 'events'}"
        yield f"[E508] {count} cannot be understood and are left out, most recently {state.misfit}"
    if state.manifest is None or state.left:
        return
    log = EventLog(events=tuple(state.last_epochs.values()), torn=state.torn, damaged=state.damaged, lost=state.lost)
    yield from missing_data(state.manifest, None if state.missing_log else log, result or {})


def _seeds(state: RunState, result: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
    listed = (result or {}).get("seeds")
    return tuple(listed) if isinstance(listed, list) else state.seeds.summaries(state.last_evidence())


def _hosts(state: RunState) -> dict[str, ShownHost]:
    figures: dict[str, dict[str, float]] = {name: {} for name in state.board.hosts}
    for name, metric, value in state.figures():
        figures.setdefault(name, {})[metric] = value
    return {name: _host(state, name, figures[name]) for name in state.board.hosts}


def _host(state: RunState, name: str, figures: Mapping[str, float]) -> ShownHost:
    board = state.board.hosts[name]
    twin = twin_of(name)
    mode, why = state.modes.get(name, (str(GovernorMode.NORMAL), ""))
    curves = state.curves.get(name, {})
    return ShownHost(
        name=name,
        twin=twin if not is_twin(name) and twin in state.board.hosts else None,
        epochs=0 if board.epoch is None else board.epoch + 1,
        figures=figures,
        slots=tuple(_slot(slot, stage, board.seeds.get(slot)) for slot, stage in board.slots.items()),
        curves={metric: dict(curves[metric].values) for metric in CURVES if metric in curves},
        stages=tuple(state.stages[name].values.values()) if name in state.stages else (),
        mode=mode,
        why=why,
        rewards=tuple(state.rewards.get(name, ())),
        findings=dict(state.findings.get(name, {})),
    )


def _slot(slot: str, stage: str, seed: Mapping[str, Any] | None) -> ShownSlot:
    if seed is None or stage in _EMPTY:
        return ShownSlot(slot=slot, stage=stage)
    return ShownSlot(
        slot=slot,
        stage=stage,
        seed_id=str(seed.get("seed_id")),
        blueprint=str(seed.get("blueprint")),
        alpha=as_number(seed.get("alpha")),
        parameters=_whole(seed.get("parameters")),
        epochs_in_stage=_whole(seed.get("epochs_in_stage")),
        contribution=seed.get("contribution"),
    )


#: A slot in one of these stages holds no seed, whatever was measured before.
_EMPTY = frozenset({"DORMANT", "CULLED", "EMBARGOED", "RESETTING"})


def _seconds_left(state: RunState, rounds: Any) -> float | None:
    """Of a training, the rounds to come take as long as the rest of this one by the epoch."""
    left = state.board.seconds_left
    done, epochs = state.board.done, state.board.epochs
    if left is None or not isinstance(rounds, int) or not epochs or done >= epochs:
        return left if left or not isinstance(rounds, int) else None
    return left + left / (epochs - done) * epochs * (rounds - state.round - 1)


def _round(event: Mapping[str, Any]) -> ShownRound:
    figures, returns = {}, {}
    for point in MetricReader({}).points(event):
        if point.metric.name == "rounds/return":
            returns[point.host] = point.value
        else:
            figures[point.labels["figure"]] = point.value
    return ShownRound(number=event.get("round") or 0, figures=figures, returns=returns)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
