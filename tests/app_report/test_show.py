"""`esper show` on handmade runs: what a person reads who was not there."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from esper_app.cli.root import cli
from esper_app_report.run_page import run_page
from esper_core.leyline.actions import GovernorMode, Op
from esper_core.leyline.events import EventKind
from esper_core.leyline.stages import Stage
from esper_runs.run_directory import RunDirectory
from esper_runs.run_record import read_run_record
from esper_runs.terminal import Terminal
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

Show = Callable[..., str]

ROLLBACK = {"attempt": 2, "from_epoch": 9, "to_epoch": 6, "reason": "the loss is nan", "slots": {"b": "TRAINING"}}


@pytest.fixture
def files(make_run):
    return make_run().short_life()


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Show:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str, code: int = 0) -> str:
        done: Result = CliRunner().invoke(cli, ["show", *arguments])
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.stderr

    return run


def row(text: str, label: str) -> str:
    """What is drawn behind a label, the first time that it occurs."""
    found = re.search(rf"^ *{re.escape(label)} \| ?(.*)$", text, re.MULTILINE)
    assert found, f"{label} is not in\n{text}"
    return found[1]


class Output(StringIO):
    """An output of some encoding that is not a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding


def page(record, width: int = 100, encoding: str = "utf-8") -> str:
    terminal = Terminal(output := Output(encoding), width)
    terminal.print(*run_page(record, record, terminal))
    return output.getvalue()


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_header_says_what_ran_and_how_it_ended(files, show):
    files.write(result=files.result())
    text = flat(show("runs/digits-1"))
    assert text.startswith(
        "digits-1: completed, 10 of 10 epochs in short no seed germinated; test accuracy grown 90.0 %"
    )
    assert "host cnn (widths = [4, 8])" in text
    assert "seed 7" in text
    assert "plugins esper-host-cnn 0.1.0 when started 2023-11-14 22:13:20 UTC, last event" in text
    assert "esper-idle" not in text
    assert "command esper run digits" in text


def test_the_command_can_be_pasted_into_a_shell(files, show):
    command = ["/bin/esper", "run", "digits", "--set", 'policy.blueprints=["mlp"]', "--config", "my file.toml"]
    files.write(manifest=files.manifest(command=command), result=files.result())
    assert shlex.join(["esper", *command[1:]]) in flat(show("digits-1", "--width", "200"))


def test_stages_are_drawn_epoch_by_epoch_with_alpha(files, show):
    files.write(result=files.result())
    text = show("digits-1")
    assert row(text, "a") == "··T27PPFFF"
    assert row(text, "b") == "···TTTxeee"
    assert "· DORMANT, T TRAINING, 0-9 BLENDING (tenths of alpha), B at alpha 1, P PROBATIONARY" in flat(text)
    assert "RESETTING" not in text
    assert row(text, "epoch").split() == ["1", "10"]


def test_a_column_of_several_epochs_shows_what_is_furthest_on(files, show):
    files.write(result=files.result())
    record = read_run_record(RunDirectory(files.path))
    # The gutter takes thirteen columns: five are left for ten epochs.
    text = page(record, 18)
    assert row(text, "a") == "·2PFF"
    assert row(text, "b") == "·TTxe"
    assert "(2 epochs share a column, which shows the latest stage reached)" in flat(text)


def test_sizes_and_curves_stand_beside_the_twin(files, show):
    files.write(result=files.result())
    text = show("digits-1")
    assert row(text, "parameters") == "▁▁████████"
    assert "parameters: 438, 1,030 from epoch 3; twin 438" in text
    assert "validation accuracy: * grown, o twin, = both" in text
    assert row(text, "75.0 %").endswith("*")
    assert "validation loss in nats" in text
    assert row(text, "2.000") == "*"


def test_what_happened_is_told_with_reasons_and_evidence(files, show):
    files.write(result=files.result())
    text = flat(show("digits-1"))
    assert "1–2 waits: only 0 epochs are over … only 1 epochs are over" in text
    assert "epoch 3 a-0 conv-light: DORMANT → GERMINATED, by action: it underfits (blend linear)" in text
    assert "G0 passed: it came" in text
    assert (
        "a-0 conv-light: TRAINING → BLENDING, by gate: small enough G2 passed: small enough update ratio = 0.25" in text
    )
    assert "probe = +0.5000 ± 0.1250 nats (100 samples)" in text
    assert "4–6 b-0 G2 not passed 3 times, most recently: update_ratio 5 > 1 update ratio = 5" in text
    assert "epoch 7 b-0 conv-light: TRAINING → CULLED, by timeout: it did not learn" in text
    assert "PROBATIONARY → FOSSILIZED, by action: it has passed (confidence 0.900)" in text


def test_denials_governor_failures_and_notices_are_told(files, show):
    files.action(Op.CULL, 9, "a", "it is in the way")
    files.denial(9, "conservative")
    files.event(EventKind.GOVERNOR_INTERVENED, {"mode": GovernorMode.CONSERVATIVE, "reason": "loss jumped"}, epoch=9)
    files.event(EventKind.ROLLBACK, ROLLBACK, epoch=9)
    files.event(EventKind.PLUGIN_FAILED, {"plugin": "p", "place": "sink", "error": "disk full"}, host="")
    files.event(EventKind.NOTICE, {"message": "stopping after this epoch"}, host="")
    files.write()
    text = flat(show("digits-1"))
    assert "epoch 10 a the governor denied: cull in a (it is in the way). Its reason: conservative" in text
    assert "epoch 10 the governor is conservative: loss jumped" in text
    assert "epoch 10 the governor rolled the host back to the state after epoch 7 (attempt 2): the loss is nan" in text
    assert "plugin p failed in sink: disk full" in text
    assert "stopping after this epoch" in text


def test_an_action_whose_effect_was_cut_off_is_told_as_such(files, show):
    files.action(Op.FOSSILIZE, 9, "a", "it has passed")
    files.write()
    assert "fossilize in a (it has passed); its effect is not in the log" in flat(show("digits-1"))


def test_ablation_and_gain_stand_side_by_side_and_apart(files, show):
    files.write()
    text = show("digits-1")
    line = next(line for line in text.splitlines() if line.startswith("a-0 "))
    assert line.split()[:7] == ["a-0", "conv-light", "592", "3", "to", "8", "FOSSILIZED"]
    assert "+0.190 ± 0.010  +0.090 ± 0.010" in line
    assert "how much the network depends on it" in flat(text)
    assert "it is not the gain of one seed" in flat(text)


@pytest.mark.parametrize(
    ("grown", "twin", "words"),
    [
        (
            0.88,
            0.8,
            "At equal epochs the grown network is better: +8.0 points of test accuracy (8 of 100 test samples), which",
        ),
        (0.8, 0.9, "At equal epochs the grown network is worse: -10.0 points"),
        (0.8, 0.8, "At equal epochs the grown network is better: the same test accuracy and a gain in loss of +0.050"),
        (0.8, None, "There is no twin to compare with, so this run does not show whether growing paid."),
    ],
)
def test_the_end_says_whether_growing_paid(files, show, grown, twin, words):
    seed = {"host": "grown", "slot": "a", "seed_id": "a-0", "blueprint": "x", "germinated_epoch": 1}
    seed |= {"final_stage": "FOSSILIZED"}
    files.write(result=files.result(grown=grown, twin=twin, seeds=[seed]))
    text = flat(show("digits-1"))
    assert words in text
    assert ("more than chance" in text) == (twin is not None)


def test_page_and_verdict_have_one_author(files, show):
    result = files.result()
    files.write(result=result)
    assert flat(verdict_in_words(verdict(result))) in flat(show("digits-1"))


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (
            {"unit": "positions", "count": 32768},
            "+10.0 points of test accuracy (3,277 of 32,768 test positions), which",
        ),
        (None, "+10.0 points of test accuracy, which"),
    ],
)
def test_a_difference_is_counted_in_what_accuracy_is_a_share_of(files, show, share, words):
    files.write(result=files.result(test_share_of=share))
    assert words in flat(show("digits-1"))


def test_a_network_that_depends_on_seeds_without_being_better_is_told_so(files, show):
    report = {"host": "grown", "slot": "a", "seed_id": "a-0", "blueprint": "x", "parameters": 1, "germinated_epoch": 1}
    report |= {"ended_epoch": None, "final_stage": "PROBATIONARY", "ablation": {"mean": 0.3, "standard_error": 0.1}}
    report |= {"gain": None, "accuracy_at_germination": 0.5, "accuracy_at_end": 0.6}
    files.write(result=files.result(grown=0.7, twin=0.8, seeds=[report]))
    text = flat(show("digits-1"))
    assert "It depends on its seeds (without them its loss is higher), and is not better than its twin." in text
    assert "PROBATIONARY (live)" in text


def test_a_killed_run_is_shown_as_far_as_it_came(files, show):
    files.events = [event for event in files.events if (event.epoch or 0) < 5]
    files.write(tail='{"kind": "epoch_compl')
    text = flat(show("digits-1"))
    assert text.startswith(
        "digits-1: unfinished, 5 of 10 epochs in short 2 seeds germinated (1 BLENDING (live), 1 TRAINING"
    )
    assert "missing There is no result.json: the run is still going on, or it was killed." in text
    assert "The last line of events.jsonl is incomplete" in text
    assert "on the test split" not in text
    assert re.search(r"last event [\d.]+ s later, which is [\d.]+ days ago", text)


def test_a_run_without_events_is_shown_from_its_result(make_run, show):
    files = make_run()
    files.write(manifest=files.manifest(config={"telemetry": "off"}), result=files.result())
    text = flat(show("digits-1"))
    assert "digits-1: completed, 10 of 10 epochs" in text
    assert "missing Telemetry was off" in text
    assert "No seed was germinated. There is no growth to judge: +10.0 points" in text
    assert "the stages of its slots" not in text


def test_a_run_without_a_twin_is_shown_alone(files, show):
    files.events = [event for event in files.events if event.host != "twin"]
    files.write(manifest=files.manifest(config={"twin": False}), result=files.result(twin=None))
    text = flat(show("digits-1"))
    assert "There was no twin" in text
    assert "validation accuracy: * grown 7" in text
    assert "o twin, = both" not in text


def test_one_slot_is_followed_with_every_verdict(files, show):
    files.write()
    text = show("digits-1", "--slot", "b")
    assert row(text, "b") == "···TTTxeee"
    assert not re.search(r"^ *a \|", text, re.MULTILINE)
    assert text.count("after the epoch: G2 not passed") == 3
    assert "a-0" not in text
    assert re.search(r"^ +4  TRAINING +0\.000 .* \+0\.030 ± 0\.010 +45\.0 %$", text, re.MULTILINE)


def test_one_seed_is_followed_and_evidence_is_told_once(files, show):
    files.write()
    text = flat(show("digits-1", "--seed", "a-0"))
    assert "a-0: conv-light, 592 parameters, epochs 3 to 8, FOSSILIZED, ablation +0.190 ± 0.010" in text
    assert text.count("update ratio = 0.25") == 1
    assert "b-0" not in text


def test_epochs_that_a_run_never_reached_are_an_error(files, show):
    files.write(result=files.result())
    said = show("digits-1", "--epochs", "100-", code=2)
    assert 'run "digits-1" has no epoch 100' in said
    assert "numbers from 1 to 10" in said


def test_epochs_are_counted_from_one_and_both_ends_belong(files, show):
    files.write()
    assert row(show("digits-1", "--epochs", "3-5"), "a") == "T27"
    assert row(show("digits-1", "--epochs", "8-"), "a") == "FFF"
    assert row(show("digits-1", "--epochs", "-2"), "a") == "··"
    assert row(show("digits-1", "--epochs", "4"), "a") == "2"
    assert "10 of 10 epochs" in show("digits-1", "--epochs", "4")


@pytest.mark.parametrize("wrong", ["0-3", "5-2", "x", "-", "", "1-2-3"])
def test_what_is_no_range_of_epochs_is_refused(files, show, wrong):
    files.write()
    assert "--epochs" in show("digits-1", "--epochs", wrong, code=2)


@pytest.mark.parametrize(("option", "name", "meant"), [("--slot", "bb", '"b"'), ("--seed", "a-1", '"a-0"')])
def test_a_slot_or_seed_that_is_not_there_comes_with_the_nearest(files, show, option, name, meant):
    files.write()
    text = show("digits-1", option, name, code=2)
    assert "E520" in text
    assert f"did you mean {meant}?" in text


def test_a_run_is_found_by_path_by_name_and_as_the_last_one(files, show, tmp_path):
    path = files.write()
    os.symlink(path.name, path.parent / "last")
    first = show("digits-1", "--json")
    for name in ("runs/digits-1", str(path), "last", "runs/last"):
        assert show(name, "--json") == first
    assert show("--json") == first


def test_a_run_that_is_not_there_comes_with_the_nearest(files, show):
    files.write()
    text = show("digit-1", code=2)
    assert "E505" in text
    assert 'did you mean "digits-1"?' in text


def test_the_story_is_data_on_request(files, show):
    files.write(result=files.result())
    record = json.loads(show("digits-1", "--json"))
    assert record["outcome"] == "completed"
    assert record["epochs"]["grown"][4]["slots"] == {"a": "BLENDING", "b": "TRAINING"}
    part = json.loads(show("digits-1", "--json", "--slot", "a", "--epochs", "3-4"))
    assert [data["epoch"] for data in part["epochs"]["grown"]] == [2, 3]
    assert {event["slot"] for event in part["timeline"]} == {"a"}


@pytest.mark.parametrize("width", [40, 60, 120])
def test_lines_keep_to_the_width_where_they_can_be_broken(files, show, width):
    files.write()
    text = show("digits-1", "--width", str(width)).partition("\nseeds\n")[0]
    # Paths are not broken.
    assert [line for line in text.splitlines() if len(line) > width and "/" not in line] == []


def test_without_a_terminal_nothing_but_text_is_written(files, show):
    files.write(result=files.result())
    assert "\x1b" not in show("digits-1")


def terminal(arguments, environ):
    """What a command writes to a terminal of its own."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "esper_app.cli", *arguments]
    with subprocess.Popen(command, stdout=its, stderr=its, env=os.environ | environ) as process:
        os.close(its)
        written = b""
        # The end of a terminal is an error, not an empty read.
        with suppress(OSError):
            while chunk := os.read(ours, 65536):
                written += chunk
    os.close(ours)
    assert process.returncode == 0, written.decode()
    return written.decode()


def test_a_terminal_gets_colours_unless_it_wants_none(files):
    path = str(files.write(result=files.result()))
    plain = {"NO_COLOR": "", "TERM": "xterm", "COLUMNS": "90"}
    coloured = terminal(["show", path], plain)
    assert "\x1b[32mF\x1b[0m" in coloured
    without = terminal(["show", path], plain | {"NO_COLOR": "1"})
    assert "\x1b" not in without
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == without
    assert "\x1b" not in terminal(["show", path], plain | {"TERM": "dumb"})


def test_an_output_that_knows_ascii_alone_gets_nothing_else(files):
    text = page(read_run_record(RunDirectory(files.write(result=files.result()))), 120, "ascii")
    text.encode("ascii")
    assert row(text, "a") == "..T27PPFFF"
    assert "1-2  waits: only 0 epochs are over ... only 1" in text
    assert "?" not in text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_columns_stay_aligned_whatever_stands_in_for_a_character(files, encoding):
    text = page(read_run_record(RunDirectory(files.write(result=files.result()))), 120, encoding)
    table = text.partition("\non the test split\n")[2].partition("\n\n")[0].splitlines()
    assert len({len(line) for line in table if not line.startswith("epochs")}) == 1
    seeds = text.partition("\nseeds\n")[2].splitlines()
    ends = {re.search(r"(±|\+/-) [\d.]+", line).end() for line in seeds if line.startswith(("a-0", "b-0"))} - {None}
    assert len(ends) <= 2


def test_what_happens_to_the_twin_is_told_as_the_twins(files, show):
    intervention = {"mode": GovernorMode.STOPPED, "reason": "its loss is not finite"}
    files.event(EventKind.GOVERNOR_INTERVENED, intervention, host="twin", epoch=9)
    files.write()
    assert "epoch 10 twin the governor is stopped: its loss is not finite" in flat(show("digits-1"))


def test_what_is_not_known_is_not_denied(make_run, show):
    files = make_run()
    files.write(manifest=files.manifest(config={"telemetry": "off"}))
    text = flat(show("digits-1"))
    assert "whether seeds were germinated is not known; no result yet" in text
    assert "no seed germinated" not in text


def test_resumptions_are_told(files, show):
    resumed = [{"epoch": 2, "command": []}, {"epoch": 5, "command": []}]
    files.write(manifest=files.manifest(resumed=resumed))
    assert "resumed 2 times, most recently before epoch 6" in flat(show("digits-1"))


def test_slots_of_two_hosts_are_told_apart(files):
    files.epoch(0, {"a": Stage.DORMANT}, host="grown-1")
    record = read_run_record(RunDirectory(files.write()))
    text = page(record)
    assert "grown-1: the stages of its slots" in text
    assert "grown a-0  conv-light: DORMANT → GERMINATED" in text
