"""The whole page of a report."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve

from esper_app_report.html.figures import networks
from esper_app_report.html.run_section import run_section, summary
from esper_runs.blueprint_analytics import BLUEPRINTS_EXPLAINED, blueprint_figures, blueprint_table
from esper_runs.html.document import asset, document
from esper_runs.html.markup import Markup, element, note, section, table
from esper_runs.pareto import measured_networks
from esper_runs.run_groups import COMPARED_EXPLAINED, comparison_of_groups, run_groups
from esper_runs.run_record import RunRecord

#: How a report begins, so that one can be told from other files.
OPENING = "<!doctype html>\n<!-- report of Esper -->\n"

_PARETO = (
    "Each point is a network at the end of its run: filled ones grew, hollow ones are twins. The line joins those that "
    "no other network beats in both figures (the Pareto front)."
)


def report_page(records: Sequence[RunRecord]) -> str:
    """Return the report of one run or several as HTML."""
    records = _told_apart(records)
    names = [record.name for record in records]
    title = f"Esper: {names[0]}" if len(names) == 1 else f"Esper: {len(names)} runs"
    anchors = [f"run-{number}" for number in range(1, len(records) + 1)]
    sections = [*_common(records), *(run_section(*pair) for pair in zip(records, anchors, strict=True))]
    return document(
        OPENING,
        title,
        asset("esper_app_report.html", "report.css"),
        element("header", element("h1", title), _navigation(records, anchors)),
        element("main", *(summary(*pair) for pair in zip(records, anchors, strict=True)), *sections),
        element("div", id="tip", role="status", hidden=True),
        script=asset("esper_runs.html", "tips.js") + asset("esper_app_report.html", "report.js"),
    )


def _told_apart(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Give runs of the same name the folder that they are in, and then a number, to their names."""
    named = [*records]
    for further in (lambda record, _: f"{Path(record.directory).parent.name}/{record.name}", _numbered):
        names = [record.name for record in named]
        named = [
            evolve(record, name=further(record, number)) if names.count(record.name) > 1 else record
            for number, record in enumerate(named, 1)
        ]
    return named


def _numbered(record: RunRecord, number: int) -> str:
    return f"{record.name} ({number})"


def _common(records: Sequence[RunRecord]) -> Iterator[Markup]:
    if len(records) > 1:
        compared, remarks = comparison_of_groups(run_groups(records))
        shown = (
            table(compared, "differences, paired by random seed") if compared.rows else note("No run has a verdict.")
        )
        yield section("Compared", shown, note(COMPARED_EXPLAINED), *map(note, remarks), level=2, id="compared")
    found = measured_networks(records)
    by_task = {task: [it for it in found if it.task == task] for task in dict.fromkeys(it.task for it in found)}
    parts = [part for task, members in by_task.items() for part in networks(task, members)]
    none = [note("No network was measured on a test split.")]
    yield section("Accuracy against size", *([*parts, note(_PARETO)] if parts else none), level=2, id="size")
    figures = blueprint_figures(records)
    shown = table(blueprint_table(figures), "blueprints, over all runs of this report")
    parts = [shown, note(BLUEPRINTS_EXPLAINED)] if figures else [note("No blueprint is known.")]
    yield section("Blueprints", *parts, level=2, id="blueprints")


def _navigation(records: Sequence[RunRecord], anchors: Sequence[str]) -> Markup:
    links = [("Compared", "compared")] if len(records) > 1 else []
    links += [("Accuracy against size", "size"), ("Blueprints", "blueprints")]
    links += [(record.name, anchor) for record, anchor in zip(records, anchors, strict=True)]
    return element("nav", *(element("a", words, href=f"#{anchor}") for words, anchor in links), aria_label="sections")
