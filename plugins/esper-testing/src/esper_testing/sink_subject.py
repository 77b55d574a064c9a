"""A sink under test: opened in a folder of its own, fed with marked events, its traces read back."""

import io
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from math import inf, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from attrs import evolve, frozen

from esper_core.leyline.actions import Action, Op, Transition, Verdict
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.evidence import EpochMetrics, Evidence, GateResult
from esper_core.leyline.protocols import Sink
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FieldReport, Rollback
from esper_core.leyline.specs import SinkSpec
from esper_core.leyline.stages import Cause, GateLevel, Stage
from esper_testing.samples import difference, good_evidence
from esper_testing.subject import Subject
from esper_testing.usage import Usage

#: Text that a careless encoder stumbles over.
UNICODE = "naïve 種子 ✓ \U0001f331 \x1b[1m [bold] \u2028 \udc80 \x00"

_MARK = re.compile(r"<mark (\d+)>")


@frozen(kw_only=True)
class SinkSubject(Subject[SinkSpec]):
    """What the sink checks look at.

    Its options must leave the place to write to the run: what a sink keeps is looked for in the run's directory, beside
    it, and in what it prints.
    """

    #: What a sink does beyond keeping events does not show: where, how safely, how beautifully.
    shows_options: ClassVar[bool] = False

    def build(self) -> Sink:
        """Return a new sink."""
        sink: Sink = self.factory(self.config)
        return sink

    def build_any(self) -> None:
        """Build one sink."""
        self.build()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Take events of every kind, and flush them."""
        sink, events = self.build(), every_kind_of_event()
        with traces() as found:
            sink.open(found.manifest)

            def use() -> Any:
                sink.emit(events)
                sink.flush()

            yield Usage(use=use, handed=events, remembers=True, keeps=True)
            sink.close()

    def fingerprint(self) -> Any:
        """Return which marked events it has kept, in its order."""
        with traces() as found:
            sink = self.build()
            sink.open(found.manifest)
            sink.emit(marked(range(40)))
            sink.close()
            return found.marks()


class Traces:
    """A run's directory in a folder of runs, and what was printed meanwhile."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.directory = runs / "conformance"
        self.directory.mkdir()
        self.printed = io.StringIO()

    @property
    def manifest(self) -> dict[str, Any]:
        """What a sink is opened with."""
        return {"directory": str(self.directory), "name": "conformance", "epochs": 9, "seed": 0}

    def stored(self) -> list[int]:
        """The numbers of the marks in the run's files and those beside it, file by file in order."""
        files = sorted(file for file in self.runs.rglob("*") if file.is_file())
        return [int(number) for file in files for number in _MARK.findall(_text_of(file))]

    def marks(self) -> list[int]:
        """The numbers of the marks in files, or else in what was printed."""
        return self.stored() or [int(number) for number in _MARK.findall(self.printed.getvalue())]


def _text_of(file: Path) -> str:
    """What a file says; of a SQLite database the texts in its tables, row by row, with what its log holds."""
    data = file.read_bytes()
    if not data.startswith(b"SQLite format 3\0"):
        # A database's own log beside it is read with it.
        return "" if file.name.endswith(("-wal", "-shm")) else data.decode("utf-8", "replace")
    with closing(sqlite3.connect(file)) as connection:
        tables = connection.execute("SELECT name FROM pragma_table_list WHERE type = 'table' ORDER BY name")
        rows = [row for (name,) in tables.fetchall() for row in connection.execute(f'SELECT * FROM "{name}"')]
    return "\n".join(value for row in rows for value in row if isinstance(value, str))


@contextmanager
def traces() -> Iterator[Traces]:
    """Give a directory, and catch what is printed."""
    with TemporaryDirectory() as folder:
        found = Traces(Path(folder))
        with redirect_stdout(found.printed), redirect_stderr(found.printed):
            yield found


def marked(numbers: Sequence[int]) -> list[Event]:
    """Return events whose messages are marks, numbered from the first."""
    return [Event(kind=EventKind.NOTICE, data={"message": f"<mark {n}>"}, sequence=n, time=float(n)) for n in numbers]


def every_kind_of_event() -> list[Event]:
    """Return an event of each kind as runs emit them, with strange text and with figures that are not finite.

    One is of a kind that a plugin has registered, and of which nothing is known.
    """
    figures = [1.5, nan, inf, -inf, None]
    return [
        evolve(event, sequence=number, time=1.7e9 + number)
        for number, event in enumerate(
            Event(kind=kind, host=host, epoch=None if kind in _OF_THE_RUN else 3, data=plain(data) | extra)
            for host in ("grown", "twin")
            for extra in ({}, {"note": UNICODE, "figures": figures, "nested": {"deep": [{"er": UNICODE}]}})
            for kind, data in {**_data(), **_FURTHER}.items()
        )
    ]


_OF_THE_RUN = {EventKind.RUN_STARTED, EventKind.RUN_FINISHED, EventKind.PLUGIN_FAILED, EventKind.ALERT}


_FURTHER: dict[str, Any] = {
    EventKind.DIAGNOSED: {"diagnostic": "standard", "finding": {"loss": nan, "flags": [UNICODE], "none": None}},
    EventKind.TELEMETRY_CHANGED: {"level": "DEBUG", "reason": UNICODE},
    "forge.kept": {"slot": 3, "heat": inf, "parts": [{"of": UNICODE}], UNICODE: None},
}


def _data() -> dict[str, Any]:
    verdict = GateResult(gate=GateLevel.G5, passed=False, score=nan, reason=UNICODE, evidence={"contribution": nan})
    metrics = EpochMetrics(loss=nan, accuracy=0.5, samples=4)
    evidence = Evidence(
        host="grown",
        epoch=3,
        train=metrics,
        validation=EpochMetrics(loss=inf, accuracy=0.0, samples=4),
        seeds=(evolve(good_evidence(Stage.BLENDING), contribution=difference(nan, inf)),),
        gates={"block0": (verdict,)},
    )
    seed: dict[str, Any] = {"slot": "block0", "seed_id": "block0-0", "blueprint": "conv-light"}
    transition = Transition(
        **seed,
        source=Stage.BLENDING,
        target=Stage.CULLED,
        epoch=3,
        epochs_in_source=2,
        cause=Cause.GATE,
        reason=UNICODE,
        gates=(verdict,),
    )
    report = FieldReport(
        **seed,
        parameters=9,
        germinated_epoch=0,
        ended_epoch=3,
        final_stage=Stage.CULLED,
        epochs_by_stage={"TRAINING": 2},
        ablation=difference(nan, nan),
    )
    return {
        EventKind.RUN_STARTED: {"directory": None, "name": UNICODE, "epochs": 9, "seed": 0},
        EventKind.EPOCH_COMPLETED: plain(evidence) | {"slots": {"block0": "BLENDING"}},
        EventKind.ACTION_DECIDED: Action(op=Op.CULL, slot="block0", reason=UNICODE, confidence=nan),
        EventKind.ACTION_DENIED: Verdict(action_id="a", allowed=False, reason=UNICODE),
        EventKind.SEED_TRANSITION: transition,
        EventKind.SEED_FINISHED: report,
        EventKind.GATES_EVALUATED: {"slot": "block0", "results": [verdict]},
        EventKind.REWARD_COMPUTED: {"terms": {"gain": nan, UNICODE: inf}, "total": nan},
        EventKind.GOVERNOR_INTERVENED: {"mode": "conservative", "reason": UNICODE},
        EventKind.ROLLBACK: {
            **plain(Rollback(attempt=1, from_epoch=3, to_epoch=1, reason=UNICODE)),
            "slots": {"block0": "DORMANT"},
        },
        EventKind.PLUGIN_FAILED: {"plugin": "foo", "place": "sink", "error": UNICODE, "disabled": False},
        EventKind.ALERT: {
            "name": "EsperLossNotFinite",
            "state": "firing",
            "severity": "page",
            "value": nan,
            "since": 1.7e9,
            "labels": {"run": UNICODE},
            "when": UNICODE,
            "summary": UNICODE,
            "advice": UNICODE,
        },
        EventKind.NOTICE: {"message": UNICODE},
    }
