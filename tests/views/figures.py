"""What each view says of a run, as figures in words: a figure's name, and how it is written.

A view leaves out what it does not show. Where it has numbers, they are written by the functions that screens use.
"""

import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from math import isfinite
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from esper_app.cli.root import cli
from esper_app_dashboard.board import Board
from esper_app_watch.model import read
from esper_runs.event_search import EventQuery, opened_events
from esper_runs.formatting import loss, percent, whole
from esper_runs.run_directory import RunDirectory
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

_SPEC = importlib.util.spec_from_file_location("esper_test_programs", Path(__file__).with_name("programs.py"))
programs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(programs)

Figures = dict[str, str]
Table = list[list[str]]

#: A number's name in `esper_runs.metrics`, what it is called here, and how it is written.
_NUMBERS = {
    "validation/accuracy": ("validation accuracy", percent),
    "validation/loss": ("validation loss, nats", loss),
    "parameters": ("parameters", whole),
    "test/accuracy": ("test accuracy", percent),
    "test/loss": ("test loss", loss),
}


def _figure(host: str, metric: str, epoch: int, value: float) -> Figures:
    name, write = _NUMBERS[metric]
    when = "" if metric.startswith("test/") else f", epoch {epoch + 1}"
    return {f"{host}: {name}{when}": write(value)}


def _of_events(events: list[Mapping[str, Any]]) -> Figures:
    """Straight from events, without the code that screens and sinks take their numbers from."""
    found: Figures = {}
    for event in events:
        data, host = event["data"], event["host"]
        if event["kind"] == "epoch_completed":
            measured = {f"validation/{key}": data["validation"][key] for key in ("accuracy", "loss")}
            for metric, value in {**measured, "parameters": data["parameters"]}.items():
                if value not in (None, "NaN"):
                    found |= _figure(host, metric, event["epoch"], value)
            for it in data["seeds"]:
                found[f"seed {it['seed_id']}: alpha, epoch {event['epoch'] + 1}"] = loss(it["alpha"], digits=2)
        elif event["kind"] == "seed_transition":
            found[f"seed {data['seed_id']}: end"] = data["target"]
        elif event["kind"] == "run_finished":
            found |= _of_result(data)
    return found


def _of_result(result: Mapping[str, Any]) -> Figures:
    found = {"verdict": verdict_in_words(verdict(result))}
    for host, figures in result["hosts"].items():
        for name in ("accuracy", "loss"):
            if figures[f"test_{name}"] is not None:
                found |= _figure(host, f"test/{name}", 0, figures[f"test_{name}"])
    return found


def events_jsonl(run: Path) -> Figures:
    return _of_events([json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()])


def result_json(run: Path) -> Figures:
    return _of_result(json.loads((run / "result.json").read_text()))


def sqlite(run: Path) -> Figures:
    with opened_events(RunDirectory(run)) as connection:
        return _of_events([*EventQuery().select(connection)])


def directory(run: Path) -> Figures:
    folder = run.parent / "telemetry" / (run / "telemetry-folder.txt").read_text().strip()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return _of_events(events) | _of_result(json.loads((folder / "result.json").read_text()))


def elasticsearch(run: Path) -> Figures:
    documents = json.loads((run.parents[1] / programs.DOCUMENTS).read_text())
    points = [(it["host"], it["name"], it["step"], it["value"]) for document in documents for it in document["points"]]
    return _of_events(documents) | _of_numbers(points)


def otlp(run: Path) -> Figures:
    return _of_numbers(json.loads((run.parents[1] / programs.METRICS_FILE).read_text()))


def mlflow(run: Path) -> Figures:
    return _of_numbers(programs.mlflow(run))


def trackio(run: Path) -> Figures:
    return _of_numbers(programs.trackio(run))


def console(run: Path) -> Figures:
    said, text = result_json(run)["verdict"], " ".join((run.parents[1] / programs.OUTPUT).read_text().split())
    return programs.console(run.parents[1]) | {"verdict": said if said in text else "another one"}


def watch(run: Path) -> Figures:
    """What the screen of ``esper watch`` draws."""
    shown = read(RunDirectory(run))
    found = {"verdict": " ".join(shown.verdict)}
    for host, it in shown.hosts.items():
        last = it.epochs - 1
        numbers = [(host, name, epoch, value) for name, curve in it.curves.items() for epoch, value in curve.items()]
        found |= _of_numbers([*numbers, *((host, name, last, value) for name, value in it.figures.items())])
        for slot in it.slots:
            if slot.seed_id is not None and slot.alpha is not None:
                found[f"seed {slot.seed_id}: alpha, epoch {it.epochs}"] = loss(slot.alpha, digits=2)
    return found | {f"seed {it['seed_id']}: end": it["final_stage"] for it in shown.seeds}


def _of_numbers(numbers: Iterable[tuple[str, str, int, float]]) -> Figures:
    found: Figures = {}
    for host, name, step, value in numbers:
        if name in _NUMBERS and isfinite(value):
            found |= _figure(host, name, step, value)
    return found


def tensorboard(run: Path) -> Figures:
    found: Figures = {}
    for folder in sorted((run / "tensorboard").iterdir()):
        accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        accumulator.Reload()
        for tag in _NUMBERS.keys() & set(accumulator.Tags()["scalars"]):
            for it in accumulator.Scalars(tag):
                found |= _figure(folder.name, tag, it.step, it.value)
    return found


def prometheus(run: Path) -> Figures:
    """A text file has the latest numbers alone; they are those of the last epoch."""
    names = {
        "esper_validation_accuracy_ratio": "validation/accuracy",
        "esper_validation_loss_nats": "validation/loss",
        "esper_parameters": "parameters",
        "esper_test_accuracy_ratio": "test/accuracy",
        "esper_test_loss_nats": "test/loss",
    }
    found: Figures = {}
    samples = [
        it
        for family in text_string_to_metric_families((run.parents[1] / "metrics.prom").read_text())
        for it in family.samples
    ]
    last = max(json.loads(line)["epoch"] or 0 for line in (run / "events.jsonl").read_text().splitlines())
    for it in samples:
        if it.name in names:
            found |= _figure(it.labels["host"], names[it.name], last, it.value)
    return found


def report(run: Path) -> Figures:
    """The HTML of ``esper report``."""
    output = run.parents[1] / f"{run.name}.html"
    done = CliRunner().invoke(cli, ["report", str(run), "--output", str(output)])
    assert done.exit_code == 0, done.output
    reader = _Page()
    reader.feed(output.read_text())
    return _of_tables(reader.tables) | {"verdict": reader.verdict}


def dashboard_data(run: Path) -> Figures:
    """What the dashboard gives to browsers."""
    board = Board(run.parent)
    listed = {it["name"]: it["id"] for it in json.loads(board.runs())["runs"]}
    found = json.loads(board.view(listed[run.name])[1])
    nodes = [node for it in found["sections"] for node in it["nodes"]]
    figures = _of_tables({_text([_first(it, "caption")]): _rows(it) for it in _all(nodes, "table")})
    charts = {it["title"]: it for section in found["sections"] for it in section["charts"]}
    for title in ("validation accuracy", "validation loss, nats", "parameters"):
        for chart, line in ((it, line) for name, it in charts.items() for line in it["lines"] if name == title):
            for epoch, value in zip(chart["x"], line["words"], strict=True):
                assert figures.setdefault(f"{line['title']}: {title}, epoch {epoch}", value) == value
    (figures["verdict"],) = [_text([it]) for it in _all(nodes, "p") if it[1].get("class") == "verdict"][:1]
    return figures


def page_figures(page: Any, run: str) -> Figures:
    """The dashboard's page as it stands in a browser, of which only this run is chosen."""
    tables = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.run table')].filter(it => it.caption).map(it => [it.caption"
        ".textContent, [...it.rows].map(row => [...row.cells].map(cell => cell.textContent))]))"
    )
    assert page.evaluate("document.querySelector('.run h2').firstChild.textContent.trim()") == run
    figures = _of_tables(tables) | {"verdict": page.evaluate("document.querySelector('.run .verdict').textContent")}
    legends = page.evaluate(
        "[...document.querySelectorAll('.plots figure')].map(it => [it.querySelector('figcaption').textContent,"
        "[...it.querySelectorAll('.u-legend tr')].map(row => [...row.cells].map(cell => cell.textContent))])"
    )
    for title, rows in legends:
        for host, value in rows[1:]:
            figures[f"legend {title}: {host}"] = value
    return figures


def _of_tables(tables: Mapping[str, Table]) -> Figures:
    """The tables that the report and the dashboard have."""
    found: Figures = {}
    head, *rows = tables["measured after the last epoch"]
    for title, *cells in rows:
        for host, value in zip(head[1:], cells, strict=True):
            if title in ("test accuracy", "test loss") and host != "difference" and value != "-":
                found[f"{host}: {title}"] = value
    for caption, (head, *rows) in tables.items():
        if (whose := re.fullmatch(r"(\w+), epoch by epoch", caption)) is not None:
            found |= _of_epochs(whose[1], head, rows)
    for row in tables.get("what became of each seed", [[]])[1:]:
        found[f"seed {row[0]}: end"] = row[4].removesuffix(" (live)")
    return found


def _of_epochs(whose: str, head: list[str], rows: Table) -> Figures:
    found: Figures = {}
    for row in rows:
        for index, title in enumerate(head):
            name, _, host = title.partition(": ")
            if title == "twin":
                name, host = head[index - 1].partition(": ")[0], "twin"
            if title == "parameters":
                name, host = title, whose
            shown = name in ("validation accuracy", "validation loss, nats", "parameters")
            if shown and row[index] not in ("-", "NaN"):
                found[f"{host}: {name}, epoch {row[0]}"] = row[index]
    return found


def _all(nodes: list[Any], name: str) -> list[Any]:
    found = [node for node in nodes if not isinstance(node, str) and node[0] == name]
    return found + [it for node in nodes if not isinstance(node, str) for it in _all(node[2], name)]


def _first(node: Any, name: str) -> Any:
    return _all([node], name)[0]


def _text(nodes: list[Any]) -> str:
    return "".join(node if isinstance(node, str) else _text(node[2]) for node in nodes)


def _rows(table: Any) -> Table:
    return [[_text([cell]) for cell in row[2]] for row in _all([table], "tr")]


class _Page(HTMLParser):
    """Tables by caption, and the first verdict."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, Table] = {}
        self.verdict = ""
        self._caption, self._rows, self._into = "", [], ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
            self._into = "cell"
        elif tag == "caption":
            self._into = "caption"
        elif tag == "p" and ("class", "verdict") in attrs and not self.verdict:
            self._into = "verdict"

    def handle_endtag(self, tag: str) -> None:
        self._into = "" if tag in ("td", "th", "caption", "p") else self._into
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if self._into == "cell":
            self._rows[-1][-1] += data
        elif self._into == "caption":
            self._caption += data
        elif self._into == "verdict":
            self.verdict += data
