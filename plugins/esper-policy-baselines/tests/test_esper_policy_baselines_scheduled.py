"""Growing by the clock, and repeating a recorded run."""

import json
from pathlib import Path
from typing import Any

import pytest

from esper_app.api import execute, load_plugins, resolve_run
from esper_core.api import (
    Action,
    ActionMasks,
    Blend,
    Catalogue,
    CatalogueEntry,
    EsperError,
    HostSignals,
    Layout,
    Observation,
    Op,
    Round,
    Site,
    Situation,
    SlotSignals,
    SlotState,
)
from esper_policy_baselines.config import FixedScheduleConfig, PeriodicConfig
from esper_policy_baselines.fixed_schedule import FixedSchedule, read_schedule
from esper_policy_baselines.periodic import Periodic

CATALOGUE = Catalogue(tuple(CatalogueEntry(name=name, layouts=frozenset({Layout.BD})) for name in ("first", "second")))


def situation(epoch: int, free: str = "ab", *, fossilize: str = "", culled: str = "", host: str = "h") -> Situation:
    slots = tuple(
        SlotSignals(
            state=SlotState(
                site=Site(id=name, path=name, layout=Layout.BD, width=4, sample_shape=(4,)),
                culled_blueprints=("first",) * (name in culled),
            )
        )
        for name in "ab"
    )
    masks = ActionMasks(
        slots=("a", "b"),
        blueprints=CATALOGUE.names,
        germinate={name: frozenset(CATALOGUE.names) for name in free},
        cull=frozenset("ab") - frozenset(free),
        fossilize=frozenset(fossilize),
    )
    return Situation(
        host=host, observation=Observation(host=HostSignals(epoch=epoch, epochs=20), slots=slots), masks=masks
    )


def ask(actor: Any, *seen: Situation) -> list[list[Action]]:
    return [[it for it in decision.actions if it.op is not Op.WAIT] for decision in actor.decide(seen)]


def test_by_the_clock_it_germinates_every_few_epochs_where_something_is_free() -> None:
    actor = Periodic(PeriodicConfig(every_epochs=3, first_epoch=2, blueprint="second", blend="cosine"), CATALOGUE)
    grown = [epoch for epoch in range(12) if ask(actor, situation(epoch))[0]]
    assert grown == [2, 5, 8, 11]
    ((action,),) = ask(actor, situation(5, "ab", culled="a"))
    assert (action.slot, action.blueprint, action.blend) == ("b", "second", Blend.COSINE)
    assert ask(actor, situation(5, "")) == [[]]
    ((kept,),) = ask(actor, situation(5, "a", fossilize="b"))
    assert (kept.op, kept.slot) == (Op.FOSSILIZE, "b")


def test_a_blueprint_outside_the_catalogue_is_refused() -> None:
    with pytest.raises(EsperError, match='"secnd" is not in the catalogue') as refused:
        Periodic(PeriodicConfig(blueprint="secnd"), CATALOGUE)
    assert refused.value.code == "E204"


def recorded(folder: Path, *actions: tuple[int, str, str], host: str = "h", denied: int | None = None) -> str:
    events = []
    for index, (epoch, op, slot) in enumerate(actions):
        data = {"op": op, "slot": slot, "id": f"{host}/{index}"}
        data |= {"blueprint": "second", "blend": "linear", "ramp_epochs": 2} if op == "GERMINATE" else {}
        events.append({"kind": "action_decided", "host": host, "epoch": epoch, "round": 0, "data": data})
        if index == denied:
            events.append({"kind": "action_denied", "host": host, "epoch": epoch, "data": {"action_id": data["id"]}})
    folder.mkdir(exist_ok=True)
    (folder / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return str(folder)


def schedule(run: str, *hosts: str) -> FixedSchedule:
    actor = FixedSchedule(FixedScheduleConfig(run=run), CATALOGUE)
    actor.reset(Round(hosts=hosts or ("h",), epochs=20))
    return actor


def test_each_action_is_done_at_its_epoch_once(tmp_path: Path) -> None:
    actor = schedule(recorded(tmp_path / "run", (2, "GERMINATE", "a"), (2, "GERMINATE", "b"), (4, "CULL", "a")))
    done = [(epoch, [(it.op.name, it.slot) for it in ask(actor, situation(epoch))[0]]) for epoch in range(4)]
    assert [actions for _, actions in done] == [[], [], [("GERMINATE", "a"), ("GERMINATE", "b")], []]
    ((culled,),) = ask(actor, situation(4, ""))
    assert (culled.op, culled.slot) == (Op.CULL, "a")
    assert ask(actor, situation(5, "ab")) == [[]]


def test_what_is_not_possible_is_done_later_and_given_up_when_the_next_one_is_due(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", (2, "GERMINATE", "a"), (5, "FOSSILIZE", "a"), (9, "GERMINATE", "a"))
    actor = schedule(run)
    assert ask(actor, situation(2, "b")) == [[]]
    ((late,),) = ask(actor, situation(3, "a"))
    assert (late.op, late.blueprint, late.ramp_epochs) == (Op.GERMINATE, "second", 2)
    assert "1 epochs late" in late.reason
    # The seed was culled by itself: it is never fossilized, and the slot's next seed comes in its time.
    assert [ask(actor, situation(epoch, "ab")) for epoch in (5, 8)] == [[[]], [[]]]
    ((again,),) = ask(actor, situation(9, "ab"))
    assert again.op is Op.GERMINATE
    assert ask(actor, situation(10, "", fossilize="a")) == [[]]


def test_hosts_have_schedules_of_their_own_and_new_ones_that_of_the_first(tmp_path: Path) -> None:
    actor = schedule(recorded(tmp_path / "run", (2, "GERMINATE", "a")), "h", "new")
    found = ask(actor, situation(2), situation(2, "b", host="new"))
    assert [len(actions) for actions in found] == [1, 0]
    resumed = schedule(str(tmp_path / "run"), "h", "new")
    resumed.restore(actor.state())
    assert [len(actions) for actions in ask(resumed, situation(3), situation(3, host="new"))] == [0, 1]


def test_what_was_denied_is_not_done_again(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", (2, "GERMINATE", "a"), (3, "GERMINATE", "b"), denied=0)
    assert [it.action.slot for it in read_schedule(Path(run))["h"]] == ["b"]


def test_a_run_that_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EsperError) as missing:
        schedule(str(tmp_path / "none"))
    assert missing.value.code == "E505"
    run = tmp_path / "run"
    run.mkdir()
    (run / "events.jsonl").write_text('{"kind": "action_decided"}\n')
    with pytest.raises(EsperError) as damaged:
        schedule(str(run))
    assert damaged.value.code == "E508"
    other = Catalogue(CATALOGUE.entries[:1])
    with pytest.raises(EsperError) as unknown:
        FixedSchedule(FixedScheduleConfig(run=recorded(run, (1, "GERMINATE", "a"))), other)
    assert unknown.value.code == "E204"


@pytest.mark.slow
def test_a_run_that_is_repeated_is_the_same_run(tmp_path: Path) -> None:
    plugins = load_plugins()
    chosen = {"epochs": 8, "twin": "epochs", "runs": str(tmp_path), "host.widths": [4, 4], "policy.name": "periodic"}

    def run(**more: Any) -> tuple[Path, dict[str, Any]]:
        done = execute(resolve_run("digits", plugins, settings=chosen | more), plugins)
        return done.directory.path, done.result

    directory, first = run()
    _, again = run(**{"policy.name": "fixed-schedule", "policy.run": str(directory)})

    assert first["seeds"]
    for result in (first, again):
        del result["difference"]["train_seconds"]
    assert again["difference"] == first["difference"]
    assert [it["blueprint"] for it in again["seeds"]] == [it["blueprint"] for it in first["seeds"]]
