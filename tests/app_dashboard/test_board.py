"""What the dashboard shows of runs: the figures and sentences of `esper_runs`, and nothing that a run says as more."""

import json
import os

import pytest

from esper_app_dashboard import board as board_module
from esper_app_dashboard.board import Board
from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.events import EventKind
from esper_core.leyline.reports import RewardBreakdown
from esper_runs import event_follower
from esper_runs.comparison import comparison
from esper_runs.formatting import percent
from esper_runs.run_directory import RunDirectory, find_run
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m"


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path / "runs", clock=lambda: 0.0)


def listed(board):
    return json.loads(board.runs())["runs"]


def view(board, name="digits-1"):
    (run,) = [it["id"] for it in listed(board) if it["name"] == name]
    return json.loads(board.view(run)[1])


def section(found, key):
    (it,) = [it for it in found["sections"] if it["key"] == key]
    return it


def texts(nodes):
    return [word for node in nodes for word in ([node] if isinstance(node, str) else texts(node[2]))]


def named(nodes, name):
    for node in nodes:
        if not isinstance(node, str):
            if node[0] == name:
                yield node
            yield from named(node[2], name)


def eventful(files):
    files.short_life()
    for epoch in range(3):
        files.event(EventKind.REWARD_COMPUTED, RewardBreakdown(terms={"gain": 0.5 * epoch, "rent": -0.1}), epoch=epoch)
        files.events[-1].data["total"] = sum(files.events[-1].data["terms"].values())
    files.denial(8, "it is too late")
    files.event(EventKind.GOVERNOR_INTERVENED, {"mode": GovernorMode.CONSERVATIVE, "reason": "it jumped"}, epoch=8)
    files.event(EventKind.NOTICE, {"message": "look here"}, host="", epoch=None)
    files.event(
        EventKind.ROUND_FINISHED,
        {"figures": {"entropy": 0.75, "explained variance": 0.5}, "rewards": {"grown": [1.0, 2.0]}},
        host="",
    )
    return files


class TestContent:
    def test_a_finished_run_has_the_verdict_and_the_figures_of_its_result(self, make_run, board):
        files = eventful(make_run())
        result = files.result(grown=0.91234, twin=0.80001)
        files.write(result=result)
        found = view(board)
        assert found["ended"] == "completed, 10 of 10 epochs"
        assert verdict_in_words(verdict(result)) in texts(section(found, "summary")["nodes"])
        cells = [
            [texts(cell[2])[:1] for cell in named([row], "td")] for row in named(section(found, "test")["nodes"], "tr")
        ]
        shown = [[cell[0] if cell else "" for cell in row] for row in cells[1:]]
        assert shown == [list(row) for row in comparison(result).texts]

    def test_curves_have_the_numbers_and_the_same_numbers_in_words(self, make_run, board):
        eventful(make_run()).write()
        charts = {it["title"]: it for it in section(view(board), "curves")["charts"]}
        accuracy = charts["validation accuracy"]
        assert accuracy["x"] == list(range(1, 11))
        grown, twin = accuracy["lines"]
        assert grown["values"] == [0.3 + epoch / 20 for epoch in range(10)]
        assert grown["words"] == [percent(value) for value in grown["values"]]
        assert (twin["title"], twin["values"][-1]) == ("twin", 0.6)

    def test_policy_rewards_rounds_governor_and_notices(self, make_run, board):
        eventful(make_run()).write()
        found = view(board)
        charts = {it["title"]: it["lines"] for it in section(found, "policy")["charts"]}
        assert [line["title"] for line in charts["reward"]] == ["total", "gain", "rent"]
        assert charts["policy: entropy"][0]["words"] == ["0.75"]
        assert charts["policy: explained variance"][0]["values"] == [0.5]
        assert charts["policy: return"][0]["values"] == [3.0]
        assert any("fossilize" in word for word in texts(section(found, "policy")["nodes"]))
        governor = " ".join(texts(section(found, "governor")["nodes"]))
        assert "Its reason: it is too late" in governor
        assert "the governor is conservative: it jumped" in governor
        assert "look here" in governor

    def test_a_gate_says_what_was_measured_its_thresholds_and_the_verdict(self, make_run, board):
        files = make_run().short_life()
        files.write(files.manifest(config={"gates": {"G2": {"max_update_ratio": 1.0}}}))
        gates = {
            node[1]["data-key"]: texts([node]) for node in named(section(view(board), "gates")["nodes"], "details")
        }
        words = gates["grown a-0 G2"]
        assert "G2 passed: small enough" in words
        assert "probe = +0.5000 ± 0.1250 nats (100 samples)" in words
        assert words[words.index("max update ratio") + 1] == "1"

    def test_several_hosts_are_drawn_each(self, make_run, board):
        files = make_run()
        for epoch in range(3):
            for host in ("twin-1", "twin-2", "grown-1", "grown-2"):
                files.epoch(epoch, {}, host=host)
        files.write()
        titles = [it["title"] for it in section(view(board), "curves")["charts"]]
        assert {"grown-1: validation loss, nats", "grown-2: validation loss, nats"} <= set(titles)


class TestHostileRuns:
    def test_what_a_run_says_is_a_text(self, make_run, board):
        files = make_run("digits-1").short_life()
        files.denial(8, HOSTILE)
        files.event(EventKind.NOTICE, {"message": HOSTILE}, host="", epoch=None)
        files.write(files.manifest(name=HOSTILE, config={"task": {"name": HOSTILE}}))
        found = view(board)
        assert found["name"] == HOSTILE.replace("\x1b", "\ufffd")
        assert [*named([node for it in found["sections"] for node in it["nodes"]], "img")] == []
        assert any(HOSTILE[:20] in word for it in found["sections"] for word in texts(it["nodes"]))
        assert "\\u001b" not in json.dumps(found)
        assert "\\u001b" not in json.dumps(listed(board))

    def test_only_runs_that_are_listed_are_read(self, make_run, tmp_path, board):
        make_run().short_life().write()
        outside = make_run("outside", runs=tmp_path / "elsewhere").short_life().write()
        for asked in ("digits-1", "../elsewhere/outside", str(outside), "..", "", "%2e%2e", "\x00"):
            assert board.view(asked) is None

    def test_links_out_of_the_runs_are_not_followed(self, make_run, tmp_path, board):
        secret = make_run("secret", runs=tmp_path / "elsewhere").short_life().write()
        make_run().short_life().write()
        (tmp_path / "runs" / "linked").symlink_to(secret, target_is_directory=True)
        make_run("half").short_life().write()
        (tmp_path / "runs" / "half" / "events.jsonl").unlink()
        (tmp_path / "runs" / "half" / "events.jsonl").symlink_to(secret / "events.jsonl")
        assert {it["name"] for it in listed(board)} == {"digits-1", "half"}
        found = view(board, "half")
        assert found["ended"] == "damaged"
        assert "symbolic link" in " ".join(texts(section(found, "summary")["nodes"]))

    def test_a_run_that_becomes_a_link_is_not_read(self, make_run, tmp_path, board):
        run = make_run().short_life().write()
        (known,) = [it["id"] for it in listed(board)]
        run.rename(tmp_path / "moved")
        run.symlink_to(tmp_path / "moved", target_is_directory=True)
        assert board.view(known) is None

    @pytest.mark.parametrize(
        "content", [b"", b"[]", b"{]", b'{"config": 3}', b'{"config": {"gates": []}, "plugins": 7}', b"\xff" * 9]
    )
    def test_damaged_runs_are_named_and_break_no_other(self, make_run, board, content):
        make_run("sound").short_life().write()
        damaged = make_run("damaged").short_life().write()
        (damaged / "manifest.json").write_bytes(content)
        assert {it["name"] for it in listed(board)} == {"sound", "damaged"}
        assert view(board, "damaged")["name"] == "damaged"
        assert view(board, "sound")["ended"] == "unfinished, 10 of 10 epochs"

    def test_numbers_that_json_does_not_have_are_gaps(self, make_run, board):
        files = make_run()
        files.epoch(0, {}, loss=float("nan"))
        files.epoch(1, {}, loss=0.5)
        files.epoch(2, {}, loss=float("inf"))
        files.write()
        charts = {it["title"]: it["lines"][0] for it in section(view(board), "curves")["charts"]}
        assert charts["validation loss, nats"]["values"] == [None, 0.5, None]
        assert charts["validation loss, nats"]["words"] == ["NaN", "0.500", "inf"]

    def test_epochs_that_are_no_numbers_are_damage(self, make_run, board):
        files = make_run().short_life()
        files.write()
        text = (files.path / "events.jsonl").read_text().replace('"epoch": 3', '"epoch": NaN')
        (files.path / "events.jsonl").write_text(text)
        assert view(board)["ended"] == "damaged"

    def test_a_folder_that_cannot_be_read_is_named(self, tmp_path, monkeypatch):
        def refused(_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(board_module, "run_paths", refused)
        found = json.loads(Board(tmp_path).runs())
        assert found["runs"] == []
        assert "Permission denied" in found["problem"]


class TestFollowing:
    def test_what_a_run_writes_is_shown_and_only_that_is_read(self, make_run, board, monkeypatch):
        files = make_run().short_life()
        files.write()
        assert view(board)["ended"] == "unfinished, 10 of 10 epochs"
        (run,) = [it["id"] for it in listed(board)]
        before, seen = board.version([run]), []
        parse = event_follower.parse_event
        monkeypatch.setattr(event_follower, "parse_event", lambda text: seen.append(text) or parse(text))
        files.epoch(10, {})
        files.write()
        assert board.version([run]).run != before.run
        assert view(board)["ended"] == "unfinished, 11 of 10 epochs"
        assert len(seen) == 1

    def test_a_run_that_was_resumed_and_cut_is_understood(self, make_run, board):
        files = make_run().short_life()
        files.write()
        view(board)
        log = files.path / "events.jsonl"
        lines = log.read_bytes().splitlines(keepends=True)
        with log.open("r+b") as file:
            file.truncate(sum(map(len, lines[: len(lines) // 2])))
        kept = [json.loads(line) for line in lines[: len(lines) // 2]]
        done = max(event["epoch"] for event in kept if event["kind"] == "epoch_completed" and event["host"] == "grown")
        assert view(board)["ended"] == f"unfinished, {done + 1} of 10 epochs"

    def test_what_has_not_changed_is_not_read_again(self, make_run, board, monkeypatch):
        for number in range(20):
            make_run(f"digits-{number}").short_life().write()
        listed(board)
        calls, summary = [], board_module.summary
        monkeypatch.setattr(board_module, "summary", lambda path, **more: calls.append(path) or summary(path, **more))
        listed(board)
        assert calls == []
        with (calls_path := make_run("digits-7").path / "events.jsonl").open("a") as file:
            file.write("\n")
        listed(board)
        assert calls == [calls_path.parent]

    def test_memory_is_bounded(self, make_run, board):
        for number in range(40):
            make_run(f"digits-{number}").short_life().write()
        for it in listed(board):
            board.view(it["id"])
        assert len(board._views) <= 32
        assert len(board._followers) <= 8

    def test_the_events_of_a_run_that_is_over_are_not_kept(self, make_run, board):
        files = make_run().short_life()
        files.write(result=files.result())
        view(board)
        assert not board._followers

    def test_a_long_run_is_read_now_and_then_only(self, make_run, tmp_path):
        now = iter([0.0, 1.0, 1.0, 2.0, *[100.0] * 9])
        board = Board(tmp_path / "runs", clock=lambda: next(now))
        files = make_run().short_life()
        files.write()
        (run,) = [it["id"] for it in listed(board)]
        first = board.view(run)  # it took a second
        files.epoch(10, {})
        files.write()
        assert board.view(run) == first
        assert board.view(run) != first


class TestChoice:
    def test_runs_that_are_named_are_shown_in_their_order(self, make_run, tmp_path):
        for name in ("c", "a", "b"):
            make_run(name).short_life().write()
        board = Board(tmp_path / "runs", [find_run(tmp_path / "runs" / name) for name in ("b", "c")])
        assert [it["name"] for it in listed(board)] == ["b", "c"]
        assert json.loads(board.runs())["where"] == ""

    def test_runs_of_one_name_in_two_folders_are_two(self, make_run, tmp_path):
        found = [make_run("same", runs=tmp_path / folder).short_life().write() for folder in ("x", "y")]
        board = Board(tmp_path / "runs", [RunDirectory(path) for path in found])
        first, second = (it["id"] for it in listed(board))
        assert first != second

    def test_the_last_run_is_marked_and_names_may_be_any_bytes(self, make_run, tmp_path, board):
        make_run("digits-1").short_life().write()
        make_run("odd").short_life().write().rename(tmp_path / "runs" / os.fsdecode(b"odd-\xff"))
        (tmp_path / "runs" / "last").symlink_to("digits-1")
        assert {(it["name"], it["last"]) for it in listed(board)} == {("digits-1", True), ("odd-\ufffd", False)}
