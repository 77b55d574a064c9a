"""Everything that reads files of a run, as commands and as calls, and what each may answer."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from attrs import frozen
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_app.execution.checkpoint import load_checkpoint, newest_checkpoint
from esper_app.execution.network_files import read_topology, read_weights
from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.leyline.printable import UNPRINTABLE
from esper_runs.reading import reading
from esper_runs.run_directory import RunDirectory
from esper_runs.run_record import read_run_record

#: No reader takes so many seconds, on a machine that does other things as well: it waits for something.
PATIENCE = 120


class TooLongError(BaseException):
    """A reader hangs."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise TooLongError in this thread when the time is over."""

    def over(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@frozen
class Reader:
    """One way to read a run.

    Attributes:
        name: for people.
        read: returns what is wrong with how it answered; "" if nothing is.
        weight: how often it is tried, in relation to others.
    """

    name: str
    read: Callable[[Path], str]
    weight: int


def command(*words: str) -> Callable[[Path], str]:
    """Return what calls the `esper` command; words in capitals stand for paths, INTO for where a new run is written."""

    def read(run: Path) -> str:
        places = {"RUN": str(run), "RUNS": str(run.parent), "LOCK": str(run.parent / "plugins.lock")}
        places |= {"CONFIG": str(run / "config.toml"), "POLICY": str(run / "policy"), "INTO": f"runs={run.parent}"}
        arguments = [places.get(word, word) for word in words]
        return wrong_with(CliRunner().invoke(cli, arguments), differs="diff" in words)

    return read


def wrong_with(result, *, differs: bool = False) -> str:
    """Say what is wrong with the output and the exit code of a command."""
    if found := UNPRINTABLE.search(result.output):
        return f"it printed {found[0]!r}: {result.output[:2000]!r}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"it raised {result.exception!r}\n{result.output}"
    code = result.exit_code
    if code not in set(ExitCode) or code == ExitCode.INTERNAL:
        return f"exit code {code}:\n{result.output[-3000:]}"
    ended = code in (ExitCode.OK, ExitCode.WENT_WRONG, ExitCode.SINKS, ExitCode.INTERRUPTED) or (differs and code == 1)
    if not ended and not re.search(r"error\[E\d{3}\]", result.output) and "Usage:" not in result.output:
        return f"exit code {code} without an error that has a code:\n{result.output}"
    return ""


def call(function: Callable[[RunDirectory], object]) -> Callable[[Path], str]:
    """Return what calls a function of the API: it may raise EsperError and nothing else."""

    def read(run: Path) -> str:
        try:
            function(RunDirectory(run))
        except EsperError as error:
            found = UNPRINTABLE.search(str(error))
            return f"its error holds {found[0]!r}" if found else ""
        except Exception as error:
            return f"it raised {error!r}"
        return ""

    return read


def _checkpoint(directory: RunDirectory) -> None:
    if (path := newest_checkpoint(directory.path / "checkpoints")) is not None:
        load_checkpoint(path)


def _report(directory: RunDirectory) -> None:
    from esper_app_report.html.page import report_page

    record = read_run_record(directory)
    with reading("what is in it", directory.path):
        assert not UNPRINTABLE.search(report_page([record]))


def _dashboard(directory: RunDirectory) -> None:
    from esper_app_dashboard.board import Board

    board = Board(directory.path.parent, [directory])
    waiting = [json.loads(board.runs())]
    waiting += [json.loads(board.view(run["id"])[1]) for run in waiting[0]["runs"]]
    while waiting:
        it = waiting.pop()
        waiting += it.values() if isinstance(it, dict) else it if isinstance(it, list) else ()
        assert not isinstance(it, str) or not UNPRINTABLE.search(it)


def _jsonl(directory: RunDirectory) -> None:
    from esper_sink_jsonl.config import JsonlConfig
    from esper_sink_jsonl.sink import JsonlSink

    sink = JsonlSink(JsonlConfig())
    try:
        sink.open({"directory": str(directory.path), "name": directory.name, "resumed_at": 3})
    finally:
        sink.close()


READERS = (
    Reader("runs", command("runs", "--runs", "RUNS"), 12),
    Reader("runs --json", command("runs", "--runs", "RUNS", "--json"), 6),
    Reader("runs prune", command("runs", "prune", "--runs", "RUNS", "--keep", "0", "--yes"), 6),
    Reader("show", command("show", "RUN"), 14),
    Reader("show --json", command("show", "RUN", "--json"), 8),
    Reader("show --slot", command("show", "RUN", "--slot", "stage1"), 8),
    Reader("report", call(_report), 8),
    Reader("dashboard", call(_dashboard), 8),
    Reader("record", call(read_run_record), 8),
    Reader("checkpoint", call(_checkpoint), 14),
    Reader("topology", call(read_topology), 5),
    Reader("weights", call(read_weights), 3),
    Reader("jsonl", call(_jsonl), 6),
    Reader("diff", command("plugins", "diff", "RUN", "LOCK"), 8),
    Reader("diff lock", command("plugins", "diff", "LOCK"), 3),
    Reader("graph --locked", command("plugins", "graph", "digits", "--locked", "LOCK"), 2),
    Reader("config check", command("config", "check", "CONFIG"), 3),
    Reader("config show", command("config", "show", "-c", "CONFIG"), 3),
    Reader("resume", command("run", "--resume", "RUN"), 6),
    Reader("export", command("export", "RUN", "--format", "safetensors"), 4),
)

#: What reads a training of a policy, and the policies that it has saved.
READERS_OF_TRAININGS = (
    Reader("show a training", command("show", "RUN"), 3),
    Reader("report of a training", call(_report), 3),
    Reader("checkpoint of a training", call(_checkpoint), 3),
    Reader("train --resume", command("train", "--resume", "RUN"), 6),
    Reader("run --policy", command("run", "digits", "--policy", "POLICY", "--set", "epochs=1", "--set", "INTO"), 6),
    Reader("eval", command("eval", "POLICY", "digits", "--seeds", "0", "--deterministic", "--set", "epochs=1"), 3),
    Reader("explain", command("explain", "RUN", "--round", "2", "--epoch", "2"), 6),
)

#: Before they read, a run or training is as if it had been killed.
RESUMING = ("resume", "train --resume")


def as_if_killed(run: Path) -> None:
    """Take away what a run writes at its end, so that it can be resumed."""
    for name in ("result.json", "weights.safetensors", "topology.json"):
        (run / name).unlink(missing_ok=True)


def rename_sink(run: Path, target: Path) -> None:
    """Let the configuration and the manifest agree that the events go to a file."""
    config = run / "config.toml"
    config.write_text(re.sub(r'(?m)^path = "none".*$', f'path = "{target}"', config.read_text()))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"]["sinks"]["jsonl"]["path"] = str(target)
    (run / "manifest.json").write_text(json.dumps(manifest))
