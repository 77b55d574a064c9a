"""Help for the tests of `esper watch`: an app that is driven by its Pilot, and what stands on its screen."""

import asyncio
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from esper_app_watch.app import WatchApp
from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.events import EventKind
from esper_core.leyline.reports import RewardBreakdown
from esper_runs.formatting import known
from esper_runs.record_tables import gate_table
from esper_runs.run_directory import find_run
from esper_runs.several_hosts import result_in_words
from esper_runs.timeline_text import NOTES

Play = Callable[[WatchApp, Pilot], Awaitable[None]]


def watch(paths, play: Play, size: tuple[int, int] = (100, 40)) -> None:
    """Watch runs, and let `play` press keys and look at the screen."""

    async def session() -> None:
        app = WatchApp([find_run(path) for path in paths], paths[0].parent)
        app.animation_level = "none"
        async with app.run_test(size=size) as pilot:
            await settled(app, pilot)
            await play(app, pilot)

    asyncio.run(session())


async def settled(app: WatchApp, pilot: Pilot) -> None:
    """Wait until everything that is in the files now has been read and drawn."""
    await app.workers.wait_for_complete()
    app.follow()
    await app.workers.wait_for_complete()
    await pilot.pause()
    await pilot.pause()


def lines(app: WatchApp) -> list[str]:
    """What stands on the screen."""
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


def text(app: WatchApp) -> str:
    """What stands on the screen, with single blanks."""
    return " ".join(" ".join(lines(app)).split())


def eventful(files):
    """A short life with everything else that a log may hold."""
    files.short_life()
    for epoch in range(3):
        files.event(EventKind.REWARD_COMPUTED, RewardBreakdown(terms={"gain": 0.5 * epoch, "rent": -0.1}), epoch=epoch)
        data = files.events[-1].data
        data["total"] = sum(data["terms"].values())
    files.denial(8, "it is too late")
    files.event(
        EventKind.GOVERNOR_INTERVENED, {"mode": GovernorMode.CONSERVATIVE, "reason": "the loss jumped"}, epoch=8
    )
    files.event(EventKind.PLUGIN_FAILED, {"plugin": "mine", "place": "sense", "error": "it broke"}, epoch=8)
    files.event(EventKind.NOTICE, {"message": "look here"}, host="", epoch=None)
    return files


def agree(run, record):
    """Compare everything that is shown with the record that `esper show` and `esper report` draw."""
    assert (run.name, run.outcome, run.epochs_done) == (record.name, record.outcome, record.epochs_done)
    assert (run.seeds, run.result, run.last_event) == (record.seeds, record.result, record.last_event)
    assert run.growing == record.growing
    for host, epochs in record.epochs.items():
        for name in ("validation/accuracy", "validation/loss", "train/accuracy", "train/loss"):
            split, key = name.split("/")
            assert run.hosts[host].curves[name] == {
                data["epoch"]: value for data in epochs if (value := known(data[split][key])) is not None
            }
        last = epochs[-1]
        assert run.hosts[host].figures["parameters"] == last["parameters"]
        assert run.hosts[host].figures["validation/loss"] == last["validation"]["loss"]
        # A run that was killed may have changed stages since its last epoch.
        changes = [it for it in record.timeline if (it.kind, it.host) == (EventKind.SEED_TRANSITION, host)]
        later = dict(last["slots"]) | {it.data["slot"]: it.data["target"] for it in changes}
        assert {slot.slot: slot.stage for slot in run.hosts[host].slots} in (dict(last["slots"]), later)
        measured = {seed["slot"]: seed for seed in last["seeds"]}
        for slot in run.hosts[host].slots:
            seed = measured.get(slot.slot, {})
            assert (slot.alpha, slot.contribution) == (seed.get("alpha"), seed.get("contribution"))
        assert run.hosts[host].rewards == record.rewards.get(host, ())
    assert run.gates == gate_table(record.timeline, several_hosts=run.several)
    told = [event for event in record.timeline if event.kind in NOTES or event.kind == EventKind.ACTION_DENIED]
    assert [(note.kind, note.data) for note in run.notes] == [(event.kind, event.data) for event in told]
    if record.result is not None:
        assert run.verdict == tuple(result_in_words(record.result))
