"""`esper watch` on its screen: every figure is drawn, every key works, and nothing that a run says is obeyed."""

import importlib.util
import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from textual.widgets import Input

from esper_app.cli.root import cli
from esper_app_watch import panes
from esper_app_watch.app import TABS, WatchApp
from esper_app_watch.curves_pane import curves
from esper_app_watch.event_pane import events
from esper_app_watch.model import read
from esper_app_watch.policy_pane import policy
from esper_app_watch.state import RunState
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_core.leyline.printable import UNPRINTABLE
from esper_core.leyline.records import to_json
from esper_core.leyline.stages import Stage
from esper_runs.formatting import loss, paired, percent, whole
from esper_runs.run_directory import RunDirectory, find_run
from esper_runs.run_follower import RunFollower
from esper_runs.run_record import read_run_record
from esper_runs.several_hosts import result_in_words
from esper_runs.terminal import Terminal

_SPEC = importlib.util.spec_from_file_location("esper_test_watching", Path(__file__).with_name("watching.py"))
watching = sys.modules.setdefault("esper_test_watching", importlib.util.module_from_spec(_SPEC))
_SPEC.loader.exec_module(watching)
eventful, lines, settled, text, watch = (
    watching.eventful,
    watching.lines,
    watching.settled,
    watching.text,
    watching.watch,
)

#: What a terminal or a library for terminals would obey, were it let through.
HOSTILE = "[bold red]x[/][link=http://a]y[/link] [@click=app.quit]z[/] \x1b[2J\x1b]0;t\x07\u202eabc\x9b1m"

SIZES = [(60, 30), (120, 40)]


class Page:
    """All panes of a run, drawn for a width of their own; the lines are as long as the screen is wide."""

    def __init__(self, path, width: int = 120) -> None:
        self.stream = io.StringIO()
        run = read(RunDirectory(path))
        state = RunState(path.name, str(path))
        state.follow(RunFollower(RunDirectory(path)))
        terminal = Terminal(self.stream, width)
        console = Console(file=self.stream, width=width, force_terminal=True, color_system="truecolor")
        host = run.growing[0] if run.growing else ""
        for part in (
            *[panes.headline(run, 0.0, terminal), panes.newest_notice(run, terminal)],
            *panes.overview(run, terminal),
            *curves(run, host, terminal),
            *panes.seeds(run, terminal),
            *policy(run, host, terminal),
            *panes.governor(run, terminal),
            *events(state.events, "", terminal),
        ):
            console.print(part)
        #: What is drawn, without what Esper itself says to the terminal.
        self.text = re.sub(r"\x1b\[[\d;]*m", "", self.stream.getvalue())


@pytest.fixture
def files(make_run):
    return eventful(make_run())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_figure_of_the_record_is_drawn(files, width):
    path = files.write(result=files.result())
    record = read_run_record(RunDirectory(path))
    drawn = " ".join(Page(path, width).text.split())
    last = record.epochs["grown"][-1]
    expected = [
        *(percent(last["validation"]["accuracy"]), loss(last["validation"]["loss"]), whole(last["parameters"])),
        *(paired(seed["contribution"]) for seed in last["seeds"]),
        *(seed["stage"] for seed in last["seeds"]),
        *(loss(value, signed=True) for value in record.rewards["grown"][-1]["terms"].values()),
        *("it is too late", "the loss jumped", "it broke", "look here", "F FOSSILIZED"),
        *("update ratio = 5", "G2 not passed", "validation accuracy: * grown, o twin", "e EMBARGOED", "conservative"),
        *result_in_words(record.result),
    ]
    assert [word for word in expected if word not in drawn] == []
    assert max(map(len, Page(path, width).text.split("\n"))) <= width


def test_the_seeds_of_a_run_that_goes_on_are_drawn(files):
    path = files.write()
    drawn = " ".join(Page(path).text.split())
    for seed in read_run_record(RunDirectory(path)).seeds:
        assert seed["seed_id"] in drawn
        assert paired(seed["ablation"]) in drawn


@pytest.mark.parametrize("size", SIZES)
def test_all_tabs_at_all_sizes(files, size):
    titles = {
        "run": "slots",
        "curves": "validation accuracy",
        "seeds": "gates, the newest first",
        "policy": "rewards of grown",
        "governor": "notices, the newest first",
        "events": "events, the newest first",
    }

    async def play(app, pilot):
        for number, name in enumerate(TABS):
            await pilot.press(str(number + 1))
            await settled(app, pilot)
            assert app.tab == name
            assert titles[name] in text(app)
            found = lines(app)
            assert {len(line) for line in found} == {size[0]}
            assert re.search("q Quit.*p Pause", found[-1])
            assert found[0].split()[:2] == ["digits-1", "completed"]

    watch([files.write(result=files.result())], play, size)


def test_what_is_new_is_drawn_while_a_run_goes_on(files, make_run):
    half = make_run()
    half.events = files.events[: len(files.events) // 2]
    path = half.write()

    async def play(app, pilot):
        assert "unfinished" in lines(app)[0]
        before = read_run_record(RunDirectory(path)).epochs_done
        assert f"epoch {before}/10" in lines(app)[0]
        with (path / "events.jsonl").open("a") as file:
            for event in files.events[len(half.events) :]:
                file.write(to_json(event) + "\n")
        (path / "result.json").write_text(json.dumps(files.result()))
        await settled(app, pilot)
        assert "completed epoch 10/10" in " ".join(lines(app)[0].split())
        assert "on the test split" in text(app)

    watch([path], play)


def test_of_a_long_log_the_end_is_shown_at_once(files, monkeypatch):
    monkeypatch.setattr("esper_app_watch.state.LONG", 1000)
    monkeypatch.setattr("esper_runs.event_follower.CHUNK", 3000)
    path = files.write()
    glance = RunState.glance(RunDirectory(path))
    assert 0 < glance.count < len(files.events)
    assert glance.events.total == glance.count
    assert glance.last_event == files.events[-1].time
    assert (glance.damaged, glance.lost, glance.torn) == (0, 0, False)
    monkeypatch.setattr("esper_app_watch.state.LONG", 1 << 30)
    assert RunState.glance(RunDirectory(path)) is None


class TestKeys:
    def test_p_stops_following_and_goes_on(self, files):
        path = files.write()

        async def play(app, pilot):
            await pilot.press("p")
            (path / "result.json").write_text(json.dumps(files.result()))
            await settled(app, pilot)
            assert "PAUSED" in lines(app)[0]
            assert "unfinished" in lines(app)[0]
            await pilot.press("p")
            await settled(app, pilot)
            assert "PAUSED" not in lines(app)[0]
            assert "completed" in lines(app)[0]

        watch([path], play)

    def test_n_shows_the_next_run(self, make_run):
        paths = [make_run(name).short_life().write() for name in ("digits-1", "digits-2")]

        async def play(app, pilot):
            seen = []
            for key in ("n", "n", "N"):
                seen.append(lines(app)[0].split()[:2])
                await pilot.press(key)
                await pilot.pause()
            assert seen == [["1/2", "digits-1"], ["2/2", "digits-2"], ["1/2", "digits-1"]]
            assert lines(app)[0].split()[1] == "digits-2"

        watch(paths, play)

    def test_h_shows_the_next_host(self, make_run):
        files = make_run()
        for number in (1, 2):
            files.epoch(0, {"a": Stage.DORMANT}, host=f"grown-{number}")

        async def play(app, pilot):
            await pilot.press("2")
            await settled(app, pilot)
            assert "grown-1: stages" in text(app)
            await pilot.press("h")
            await settled(app, pilot)
            assert "grown-2: stages" in text(app)
            await pilot.press("H")
            await settled(app, pilot)
            assert "grown-1: stages" in text(app)

        watch([files.write()], play)

    def test_slash_filters_events_as_one_types(self, files):
        async def play(app, pilot):
            await pilot.press("slash")
            await pilot.press(*"culled")
            await settled(app, pilot)
            assert app.query_one(Input).value == "culled"
            assert "2 of" in text(app)
            assert "TRAINING → CULLED" in text(app)
            assert "epoch_completed" not in text(app)
            app.query_one(Input).value = ""
            await pilot.press(*"epoch=0")
            await settled(app, pilot)
            assert "contains no epoch" in text(app)
            await pilot.press("escape", "q")
            assert not app.is_running

        watch([files.write()], play)

    def test_arrows_lead_through_the_tabs_and_the_question_mark_explains_the_keys(self, files):
        async def play(app, pilot):
            for key, name in (("right", "curves"), ("left", "run"), ("left", "events")):
                await pilot.press(key)
                await settled(app, pilot)
                assert app.tab == name
            assert "run_started" not in text(app)
            await pilot.press("end")
            await pilot.pause()
            assert "run_started" in text(app)
            await pilot.press("question_mark")
            await pilot.pause()
            assert "stop following the files" in text(app)
            await pilot.press("escape")
            await pilot.pause()
            assert "stop following the files" not in text(app)

        watch([files.write()], play, (80, 24))

    def test_r_chooses_a_run_from_the_list(self, make_run):
        first = make_run("digits-1").short_life().write()
        make_run("digits-2").short_life().write()

        async def play(app, pilot):
            await pilot.press("r")
            await settled(app, pilot)
            assert "digits-2 unfinished 10/10" in text(app)
            await pilot.press("enter")
            await settled(app, pilot)
            assert lines(app)[0].split()[:2] == ["2/2", "digits-2"]
            await pilot.press("r")
            await settled(app, pilot)
            await pilot.press("escape")
            await settled(app, pilot)
            assert [state.name for state in app.states] == ["digits-1", "digits-2"]

        watch([first], play)


class TestHostileRuns:
    @pytest.fixture
    def hostile(self, make_run):
        files = eventful(make_run())
        text = to_json([*files.events])
        for name in ("it is too late", "the loss jumped", "it broke", "look here", "it did not learn", "conv-light"):
            text = text.replace(name, HOSTILE.encode("unicode_escape").decode().replace("\\x", "\\u00"))
        path = files.write(files.manifest(name=HOSTILE, config={"task": {"name": HOSTILE}}))
        log = "".join(json.dumps(event) + "\n" for event in json.loads(text))
        (path / "events.jsonl").write_text(log)
        result = files.result()
        hosts = {HOSTILE if name == "grown" else name: host for name, host in result["hosts"].items()}
        seeds = [
            {**event["data"], "host": HOSTILE, "reason": HOSTILE}
            for event in json.loads(text)
            if event["kind"] == EventKind.SEED_FINISHED
        ]
        (path / "result.json").write_text(json.dumps(result | {"hosts": hosts, "seeds": seeds, "outcome": HOSTILE}))
        return path

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_nothing_is_obeyed(self, hostile, width):
        drawn = Page(hostile, width)
        assert not UNPRINTABLE.search(drawn.text)
        assert "\x1b]" not in drawn.stream.getvalue()
        assert drawn.text.count("[bold red]x[/]") > 5

    def test_markup_is_shown_as_it_is(self, hostile):
        async def play(app, pilot):
            for number in range(len(TABS)):
                await pilot.press(str(number + 1))
                await settled(app, pilot)
                assert "[bold red]x[/]" in lines(app)[0]
                assert not UNPRINTABLE.search("".join(lines(app)))
                styles = [segment.style for strip in app.screen._compositor.render_strips() for segment in strip]
                assert not any(style and style.link for style in styles)
                assert not any("app.quit" in str(style.meta) for style in styles if style)
            await pilot.press("r")
            await settled(app, pilot)
            assert not UNPRINTABLE.search("".join(lines(app)))

        watch([hostile], play)

    @pytest.mark.parametrize("junk", [None, 5, "x", [[1]], {"a": 1}, -1e400])
    def test_values_of_other_types_are_no_crash(self, make_run, junk):
        files = eventful(make_run())
        path = files.write(files.manifest(), files.result())
        log = path / "events.jsonl"
        events = [json.loads(line) for line in log.read_text().splitlines()]
        places = [(event["kind"], key) for event in events for key in event["data"]]
        mangled = [
            event | {"data": event["data"] | {key: junk}}
            for kind, key in dict.fromkeys(places)
            for event in [next(it for it in events if it["kind"] == kind and key in it["data"])]
        ]
        mangled += [event | {"epoch": junk} for event in events[:5]] + [event | {"round": junk} for event in events[:5]]
        log.write_text("".join(json.dumps(it | {"sequence": n}) + "\n" for n, it in enumerate([*events, *mangled])))
        for name in ("hosts", "seeds", "difference", "outcome"):
            (path / "result.json").write_text(json.dumps(files.result() | {name: junk}))
            assert read(RunDirectory(path)).problems
        (path / "manifest.json").write_text(json.dumps(files.manifest() | {"config": junk, "name": junk}))

        async def play(app, pilot):
            for number in range(len(TABS)):
                await pilot.press(str(number + 1))
                await settled(app, pilot)
                assert app.is_running

        watch([path], play)


def test_damage_is_named_on_the_screen(files):
    path = files.write(tail="nonsense\n")
    (path / "manifest.json").write_text("[]")

    async def play(app, pilot):
        assert '[E508] "manifest.json" of run "digits-1" is not as it was written' in text(app)
        assert "fix: bring the run's files back" in text(app)
        await pilot.press("6")
        await settled(app, pilot)
        assert "[E508]" in text(app)

    watch([path], play)


def test_no_color_is_respected(files, monkeypatch):
    def colours(app):
        strips = app.screen._compositor.render_strips()
        styles = [segment.style for strip in strips for segment in strip if segment.style]
        named = [colour for style in styles for colour in (style.color, style.bgcolor) if colour and colour.triplet]
        return {colour.triplet for colour in named if len({*colour.triplet}) > 1}

    async def coloured(app, pilot):
        assert colours(app)

    async def plain(app, pilot):
        assert not colours(app)

    path = files.write(result=files.result())
    monkeypatch.delenv("NO_COLOR", raising=False)
    watch([path], coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    watch([path], plain)


class TestRefusals:
    def test_without_a_terminal(self, files, monkeypatch):
        monkeypatch.chdir(files.write().parent.parent)
        done = CliRunner().invoke(cli, ["watch", "digits-1"])
        assert done.exit_code == 2
        assert "needs a terminal" in done.stderr
        assert "`esper report RUN`" in done.stderr
        assert "`esper events search RUN`" in done.stderr

    def test_of_an_unknown_run_as_by_report(self, files, monkeypatch):
        monkeypatch.chdir(files.write().parent.parent)
        monkeypatch.setattr("esper_app_watch.command._in_a_terminal", lambda: True)
        done, report = (CliRunner().invoke(cli, [name, "digits-2"]) for name in ("watch", "report"))
        assert done.exit_code == report.exit_code == 2
        assert "E505" in done.stderr
        assert done.stderr == report.stderr

    def test_where_there_are_no_runs(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("esper_app_watch.command._in_a_terminal", lambda: True)
        done = CliRunner().invoke(cli, ["watch"])
        assert done.exit_code == 2
        assert "E505" in done.stderr


class TestWithoutRun:
    @pytest.fixture
    def watched(self, monkeypatch, tmp_path):
        shown = []
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("esper_app_watch.command._in_a_terminal", lambda: True)
        monkeypatch.setattr(WatchApp, "run", lambda app: shown.extend(state.name for state in app.states))

        def call():
            done = CliRunner().invoke(cli, ["watch"])
            assert done.exit_code == 0, done.output
            return shown

        return call

    def test_the_newest_is_shown(self, make_run, watched):
        for number in (1, 2):
            files = make_run(f"digits-{number}").short_life()
            files.write(files.manifest(started=f"2023-11-1{number}T22:13:20+00:00"), files.result())
        assert watched() == ["digits-2"]

    def test_all_that_are_going_on_are_shown(self, make_run, watched):
        for number in (1, 2):
            make_run(f"digits-{number}").short_life().write()
        over = make_run("digits-3").short_life()
        over.write(over.manifest(started="2023-12-14T22:13:20+00:00"), over.result())
        silent = make_run("digits-4").short_life().write()
        for path in (silent, *silent.iterdir()):
            os.utime(path, (1, 1))
        assert sorted(watched()) == ["digits-1", "digits-2"]


def test_a_run_that_is_gone_from_the_list_is_named(files):
    path = files.write()

    async def play(app, pilot):
        app.watch_run(path.parent / "digits-7")
        await pilot.pause()
        assert len(app.states) == 1
        with pytest.raises(EsperError):
            find_run(path.parent / "digits-7")

    watch([path], play)
