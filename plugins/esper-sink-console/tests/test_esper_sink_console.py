import io
import math
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from esper_core.api import Event, EventKind
from esper_runs.board import Board
from esper_runs.terminal import Terminal
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words
from esper_sink_console.config import ConsoleConfig
from esper_sink_console.live import display
from esper_sink_console.sink import ConsoleSink

MANIFEST = {
    "name": "digits-1",
    "directory": None,
    "config": {
        "epochs": 40,
        "seed": 7,
        "task": {"name": "digits"},
        "host": {"name": "cnn"},
        "policy": {"name": "heuristic"},
    },
}


def epoch(host: str, number: int, accuracy: float, loss: float = 0.5, **changes: Any) -> Event:
    split = {"loss": loss, "accuracy": accuracy, "samples": 360, "seconds": 0.1}
    seed = {
        "slot": "block1",
        "blueprint": "conv-light",
        "stage": "BLENDING",
        "alpha": 0.5,
        "contribution": {"mean": 0.0421, "standard_error": 0.011, "count": 360},
    }
    data = {
        "train": split,
        "validation": split,
        "parameters": 1038,
        "seeds": [] if host == "twin" else [seed],
        "slots": {"block0": "DORMANT", "block1": "DORMANT" if host == "twin" else "BLENDING"},
    }
    return Event(kind=EventKind.EPOCH_COMPLETED, host=host, epoch=number, data=data | changes)


def transition(number: int = 4, target: str = "BLENDING", **changes: Any) -> Event:
    data = {"slot": "block1", "blueprint": "conv-light", "source": "TRAINING", "target": target, "cause": "gate"}
    return Event(kind=EventKind.SEED_TRANSITION, host="grown", epoch=number, data=data | {"reason": ""} | changes)


def host(accuracy: float, parameters: int) -> dict[str, Any]:
    return {
        "epochs": 40,
        "test_accuracy": accuracy,
        "test_loss": 0.25,
        "test_samples": 360,
        "parameters": parameters,
        "forward_flops": 14_000 if parameters < 500 else 18_600,
        "train_seconds": 2.25,
    }


def result(gain: float = 0.025, **changes: Any) -> dict[str, Any]:
    data = {
        "task": "digits",
        "outcome": "completed",
        "test_share_of": {"unit": "samples", "count": 360},
        "hosts": {"grown": host(0.9 + gain, 1038), "twin": host(0.9, 438)},
        "difference": {
            "test_accuracy": gain,
            "test_loss": -0.1,
            "parameters": 600,
            "forward_flops": 4600,
            "train_seconds": 0.75,
            "test_gain": {"mean": 0.1, "standard_error": 0.01, "count": 360},
        },
        "seeds": [
            {
                "host": "grown",
                "slot": "block1",
                "seed_id": "s1",
                "blueprint": "conv-light",
                "parameters": 600,
                "germinated_epoch": 2,
                "ended_epoch": 12,
                "final_stage": "FOSSILIZED",
                "reason": "G5 passed",
                "ablation": {"mean": 0.4, "standard_error": 0.02, "count": 360},
                "gain": {"mean": 0.08, "standard_error": 0.01, "count": 360},
            }
        ],
    }
    return data | changes


def finished(data: Mapping[str, Any]) -> Event:
    return Event(kind=EventKind.RUN_FINISHED, data=data)


@pytest.fixture
def open_sink() -> Iterator[Callable[..., ConsoleSink]]:
    """The sink takes standard output as it is when it is opened, so each test opens it by itself."""
    sinks: list[ConsoleSink] = []

    def make(manifest: Mapping[str, Any] = MANIFEST) -> ConsoleSink:
        sinks.append(ConsoleSink(ConsoleConfig()))
        sinks[-1].open(manifest)
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


def test_without_terminal_each_epoch_is_a_line_with_the_twin_beside(open_sink: Any, capsys: Any) -> None:
    sink = open_sink()
    sink.emit([epoch("twin", 0, 0.41), epoch("grown", 0, 0.5, loss=1.25), epoch("twin", 1, 0.6)])
    sink.emit([epoch("grown", 1, 0.7)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits-1: task digits, host cnn, policy heuristic, seed 7"
    assert lines[1] == (
        "epoch 1/40 | grown: training 50.0 % (1.250), validation 50.0 % (1.250)"
        " | twin: training 41.0 % (0.500), validation 41.0 % (0.500)"
    )
    assert lines[2].startswith("epoch 2/40 | grown: training 70.0 %")
    assert len(lines) == 3


def test_without_terminal_each_transition_is_a_line_in_order(open_sink: Any, capsys: Any) -> None:
    sink = open_sink()
    sink.emit([transition(), epoch("grown", 4, 0.5), transition(5, "CULLED", reason="harmful")])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0] == "epoch 5 | grown | block1 conv-light: TRAINING → BLENDING, by gate"
    assert lines[1].startswith("epoch 5/40")
    assert lines[2] == "epoch 6 | grown | block1 conv-light: TRAINING → CULLED, by gate: harmful"


def test_notices_failures_and_the_governor_are_told(open_sink: Any, capsys: Any) -> None:
    sink = open_sink()
    sink.emit(
        [
            Event(kind=EventKind.NOTICE, data={"message": "no loader, nothing is measured"}),
            Event(
                kind=EventKind.PLUGIN_FAILED,
                data={"plugin": "jsonl", "place": "sink", "error": "emit: OSError: disk full"},
            ),
            Event(
                kind=EventKind.GOVERNOR_INTERVENED,
                host="grown",
                epoch=3,
                data={"mode": "stopped", "reason": "the loss is NaN"},
            ),
            Event(
                kind=EventKind.ACTION_DENIED,
                host="grown",
                epoch=3,
                data={"reason": "calm down", "action_id": "grown/3"},
            ),
        ]
    )
    assert capsys.readouterr().out.splitlines()[1:] == [
        "no loader, nothing is measured",
        "plugin jsonl failed in sink: emit: OSError: disk full",
        "epoch 4 | grown | the governor is stopped: the loss is NaN",
        "epoch 4 | grown | the governor denied: action grown/3. Its reason: calm down",
    ]


def test_the_final_table_sets_the_grown_network_beside_the_twin(
    open_sink: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    sink = open_sink()
    sink.emit([finished(result())])
    text = capsys.readouterr().out
    rows = {line.partition("  ")[0]: line.split() for line in text.splitlines()}
    assert rows["test accuracy"][2:] == ["90.0", "%", "92.5", "%", "+2.5", "points"]
    assert rows["parameters"][1:] == ["438", "1,038", "+600"]
    assert rows["forward pass"][2:] == ["14.0", "kFLOP", "18.6", "kFLOP", "+4.6", "kFLOP"]
    assert rows["training time"][2:] == ["2.2", "s", "2.2", "s", "+0.8", "s"]
    seed = next(line for line in text.splitlines() if "conv-light" in line)
    assert "FOSSILIZED" in seed
    assert "3 to 13" in seed
    assert "+0.400 ± 0.020" in seed
    assert "+0.080 ± 0.010" in seed
    assert seed.index("+0.400") < seed.index("+0.080")


def test_a_narrow_terminal_shows_no_word_in_pieces(
    open_sink: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    first, *_ = result()["seeds"]
    live = first | {"seed_id": "s2", "final_stage": "BLENDING", "ended_epoch": None, "reason": None}
    open_sink().emit([finished(result(seeds=[first, live]))])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    shown = " ".join(text.split())
    assert "s1 blueprint conv-light, parameters 600, epochs 3 to 13, end FOSSILIZED, ablation +0.400 ± 0.020" in shown
    assert "s2 blueprint conv-light, parameters 600, epochs from 3, end BLENDING (live), ablation" in shown


def several(count: int = 4) -> dict[str, Any]:
    """The result of a run with several hosts."""
    pairs = {f"grown-{number}": f"twin-{number}" for number in range(1, count + 1)}
    hosts = {name: host(0.9 + 0.01 * number, 1038) for number, name in enumerate(pairs)}
    difference = result()["difference"]
    return result(
        hosts=hosts | {twin: host(0.9, 438) for twin in pairs.values()},
        twins=pairs,
        difference=None,
        differences={
            name: difference | {"test_accuracy": 0.01 * number, "test_loss": -0.01 * number}
            for number, name in enumerate(pairs)
        },
        seeds=[seed | {"host": name} for name in pairs for seed in result()["seeds"]],
    )


@pytest.mark.parametrize("columns", [60, 120])
def test_several_hosts_have_a_row_each_and_one_verdict(
    open_sink: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    open_sink().emit([finished(several())])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= columns
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith("grown-") and "%" in line}
    assert list(rows) == ["grown-1", "grown-2", "grown-3", "grown-4"]
    assert rows["grown-3"][1:10] == ["92.0", "%", "90.0", "%", "+2.0", "points", "+0.100", "±", "0.010"]
    shown = " ".join(text.split())
    assert (
        "4 hosts grew, each beside its own twin. "
        "At equal epochs growing was better for 4 (grown-1, grown-2, grown-3, grown-4)." in shown
    )
    assert (
        "The mean gain in test loss over the twin is +0.015 ± 0.006 nats, with the standard error over 4 hosts."
        in shown
    )


def test_without_terminal_each_host_is_a_line_with_its_own_twin(open_sink: Any, capsys: Any) -> None:
    events = [epoch(f"{who}-{number}", 0, 0.8 + number / 100) for who in ("twin", "grown") for number in (1, 2)]
    open_sink().emit(events)
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first.startswith("epoch 1/40 | grown-1: training 81.0 %")
    assert "twin-1: training 81.0 %" in first
    assert "twin-2: training 82.0 %" in second


@pytest.mark.parametrize("columns", [60, 120])
def test_the_display_has_a_row_for_each_of_several_hosts(columns: int) -> None:
    board = Board.of_run(MANIFEST)
    for number in range(1, 5):
        for name in (f"twin-{number}", f"grown-{number}"):
            board.apply(epoch(name, 3, 0.8 + number / 100))
    terminal = Terminal(shown := io.StringIO(), columns)
    terminal.print(display(board, terminal))
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    (row,) = [line.split() for line in lines if line.split()[:2] == ["grown-2", "4/40"]]
    measured = ["82.0", "%", "(0.500)"]
    wide = columns >= 80
    assert row[2:] == [*measured, *measured, *(measured if wide else []), "1,038", *([_BARS[0]] if wide else [])]
    assert not any("block0" in line for line in lines), "what does not grow has no room among several hosts"
    assert sum("grown-2/block1" in line for line in lines) == 1


_BARS = "▁▂▃▄▅▆▇█"


@pytest.mark.parametrize(
    ("names", "columns"),
    [(("grown", "twin"), 80), (("the-grown-one", "twin"), 85), (("grown-1", "grown-2"), 97)],
)
def test_a_host_has_a_sparkline_of_its_newest_losses_where_there_is_room(names: tuple[str, ...], columns: int) -> None:
    board = Board.of_run(MANIFEST)
    losses = [9.0, *(2.0 - number / 8 for number in range(8))]  # the first is forgotten
    for number, nats in enumerate(losses):
        for name in names:
            board.apply(epoch(name, number, 1.0, loss=nats))
    shown = {}
    for width in (columns, columns - 1):
        terminal = Terminal(written := io.StringIO(), width)
        terminal.print(display(board, terminal))
        lines = written.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        (shown[width],) = [line.split()[-1] for line in lines if line.split()[:2] == [names[0], "9/40"]]
    bars = [*map(_BARS.index, shown[columns])]
    assert bars == [*reversed(range(len(_BARS)))]
    assert shown[columns - 1] == "1,038"


def test_how_long_several_hosts_take_is_told_by_the_clock() -> None:
    board = Board.of_run(MANIFEST)
    for number in range(3):
        for name in ("grown-1", "grown-2"):
            board.apply(evolve(epoch(name, number, 0.8), time=100.0 + 5 * number))
        assert board.seconds_left == (None if number == 0 else 5.0 * (40 - number - 1))


def test_the_verdict_is_that_of_every_other_page(open_sink: Any, capsys: Any) -> None:
    open_sink().emit([finished(result())])
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.endswith(verdict_in_words(verdict(result())))


def test_what_was_measured_of_no_host_is_no_row(open_sink: Any, capsys: Any) -> None:
    hosts = {"grown": host(0.9, 438) | {"forward_flops": None, "test_accuracy": None, "test_loss": None}}
    open_sink().emit([finished(result(hosts=hosts, difference=None))])
    text = capsys.readouterr().out
    assert "parameters" in text
    assert not [word for word in ("forward pass", "test accuracy", "test loss") if word in text]


def test_what_was_not_measured_is_a_dash(open_sink: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    sink = open_sink()
    seed = result()["seeds"][0] | {"ablation": None, "gain": None, "ended_epoch": None, "final_stage": "BLENDING"}
    hosts = {"grown": host(0.9, 438) | {"forward_flops": None}, "twin": host(0.8, 246)}
    sink.emit([epoch("grown", 0, 0.5, validation=None), finished(result(hosts=hosts, difference=None, seeds=[seed]))])
    text = capsys.readouterr().out
    assert "validation -" in text
    assert re.search(r"forward pass +\S+ \wFLOP +- *\n", text)
    assert re.search(r"from 3 +BLENDING \(live\) +- +- ", text)


@pytest.mark.parametrize(("value", "words"), [(math.nan, "loss NaN"), (math.inf, "(inf)"), (-math.inf, "(-inf)")])
def test_nan_and_infinity_are_shown_as_they_are(open_sink: Any, capsys: Any, value: float, words: str) -> None:
    sink = open_sink()
    broken = {"mean": value, "standard_error": math.inf, "count": 1}
    seeds = [result()["seeds"][0] | {"ablation": broken}]
    hosts = {"grown": host(0.9, 438) | {"test_loss": value, "train_seconds": value}}
    sink.emit([epoch("grown", 0, value, loss=value), finished(result(hosts=hosts, seeds=seeds))])
    assert words in capsys.readouterr().out


def test_markup_and_unicode_in_names_and_reasons_are_left_alone(open_sink: Any, capsys: Any) -> None:
    sink = open_sink()
    sink.emit([transition(reason="[bold]種子[/bold] \\[x]"), finished(result(task="[red]naïve[/red]"))])
    text = capsys.readouterr().out
    assert "[bold]種子[/bold] \\[x]" in text
    assert "[red]naïve[/red]" in text


def test_an_output_without_unicode_gets_stand_ins(tmp_path: Path) -> None:
    output = run_script(tmp_path, encoding="ascii")
    assert "TRAINING -> BLENDING" in output
    assert "+0.400 +/- 0.020" in output
    assert output.isascii()


def test_closing_twice_does_nothing_and_emitting_after_it_raises(open_sink: Any) -> None:
    sink = open_sink()
    sink.close()
    sink.close()
    with pytest.raises(RuntimeError, match="not open"):
        sink.emit([transition()])


def test_a_manifest_may_say_nothing(open_sink: Any, capsys: Any) -> None:
    open_sink({"directory": None}).emit([epoch("grown", 0, 0.5)])
    assert capsys.readouterr().out.startswith("epoch 1 | grown: ")


def test_a_full_disk_is_the_hubs_to_count(open_sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = open_sink()

    def refuse(_: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.stdout, "write", refuse)
    with pytest.raises(OSError, match="No space left"):
        sink.emit([transition()])
    monkeypatch.undo()
    sink.close()


def test_the_board_follows_transitions_between_epochs() -> None:
    board = Board.of_run(MANIFEST)
    board.apply(epoch("grown", 3, 0.5))
    board.apply(transition(4, "PROBATIONARY"))
    assert board.hosts["grown"].slots["block1"] == "PROBATIONARY"
    assert list(board.growing()) == ["grown"]


def test_describing_the_sink_imports_no_rich() -> None:
    code = (
        "import sys, esper_sink_console.plugin, esper_sink_console.config, esper_sink_console.sink\n"
        "assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# In a real pseudo-terminal

SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_esper_sink_console as given
from esper_sink_console.config import ConsoleConfig
from esper_sink_console.live import display
from esper_sink_console.sink import ConsoleSink

sink = ConsoleSink(ConsoleConfig())
sink.open(given.MANIFEST)
for number in range(3):
    sink.emit([given.epoch("twin", number, 0.4 + number / 10), given.epoch("grown", number, 0.5 + number / 10)])
    sink.flush()
sink.progress("grown", 3, 7, 17)
sink.emit([given.transition(3)])
sink.emit([given.epoch("grown", 3, 0.8)])
sink.emit([given.finished(given.result())])
sink.close()
"""


def run_script(tmp_path: Path, encoding: str = "utf-8", **environment: str) -> str:
    """Run the script with its output in a file."""
    (script := tmp_path / "script.py").write_text(SCRIPT)
    variables = {**os.environ, "PYTHONIOENCODING": encoding, **environment}
    return subprocess.run([sys.executable, script], env=variables, stdout=subprocess.PIPE, check=True).stdout.decode()


def run_in_terminal(tmp_path: Path, **environment: str) -> str:
    """Run the script in a pseudo-terminal of 110 x 40 and return everything that reached it."""
    (script := tmp_path / "script.py").write_text(SCRIPT)
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "110", "LINES": "40", **environment}
    if "NO_COLOR" not in environment:
        variables.pop("NO_COLOR", None)
    process = subprocess.Popen([sys.executable, script], env=variables, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    received = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other side has been closed
            break
        if not chunk:
            break
        received += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0, received.decode()
    return received.decode()


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Everything that reaches a terminal with colours."""
    return run_in_terminal(tmp_path_factory.mktemp("terminal"))


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_gets_a_display_that_is_drawn_over_itself(received: str) -> None:
    assert "\x1b[1A" in received
    assert received.index("\x1b[?25l") < received.rindex("\x1b[?25h")
    text = without_escapes(received)
    for words in (
        "3/40",
        "60.0 % (0.500)",
        "BLENDING",
        "conv-light",
        "0.50",
        "━",
        "+0.042 ± 0.011",
        "block0",
        "DORMANT",
    ):
        assert words in text
    assert "epoch 3/40 |" not in text


def test_what_runs_is_shown_before_the_first_epoch_and_then_how_long_the_rest_will_take(received: str) -> None:
    text = without_escapes(received)
    assert text.index("digits-1: task digits") < text.index("epoch 1 of 40") < text.index("about") < text.index("3/40")
    # An epoch takes 0.1 s in each split of each host: 0.4 s.
    assert "epoch 4 of 40, about 14.8 s left" in text


def test_a_terminal_shows_how_far_the_epoch_is_until_it_is_over(received: str) -> None:
    text = without_escapes(received)
    assert "grown: step 7 of 17 of epoch 4" in text
    assert text.rindex("step 7 of 17") < text.rindex("4/40")


def test_how_long_the_rest_takes_is_not_guessed() -> None:
    board = Board.of_run(MANIFEST)
    assert (board.done, board.seconds_left) == (0, None)
    board.apply(epoch("grown", 0, 0.5))
    assert board.seconds_left == pytest.approx(39 * 0.2)
    board.apply(epoch("twin", 1, 0.5, validation={}))
    assert (board.done, board.seconds_left) == (1, None)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_sixty_columns_are_enough(tmp_path: Path, encoding: str) -> None:
    received = run_in_terminal(tmp_path, COLUMNS="60", PYTHONIOENCODING=encoding)
    lines = without_escapes(received).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= 60
    assert "…" not in received
    assert all(words in received for words in ("BLENDING", "conv-light", "60.0 %", "At equal epochs"))


def test_transitions_stay_above_the_display_and_the_table_comes_last(received: str) -> None:
    text = without_escapes(received)
    assert text.index("TRAINING → BLENDING") < text.index("test accuracy") < text.index("At equal epochs")


def test_a_terminal_has_colours_unless_no_color_is_set(received: str, tmp_path: Path) -> None:
    colour = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|9\d)(?:;\d+)*m")
    assert colour.search(received)
    assert not colour.search(run_in_terminal(tmp_path, NO_COLOR="1"))


def test_a_dumb_terminal_gets_lines(tmp_path: Path) -> None:
    received = run_in_terminal(tmp_path, TERM="dumb")
    assert "\x1b[1A" not in received
    assert "epoch 3/40 | grown: " in received


def test_an_output_in_a_file_has_no_escapes(tmp_path: Path) -> None:
    output = run_script(tmp_path)
    assert "\x1b" not in output
    assert "epoch 3/40 | grown: " in output


def test_where_nobody_reads_any_more_it_falls_silent(open_sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        sink = open_sink()
        for number in range(3):
            sink.emit([epoch("grown", number, 0.5)])
        stream.write("what others print does not fail either")
        stream.flush()
