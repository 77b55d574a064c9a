"""A run on one page: header, how the training went, the timeline, the seeds, and how it ended."""

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from esper_app_report.training_plot import training_plot
from esper_runs.comparison import comparison
from esper_runs.result import UNFINISHED, is_twin
from esper_runs.run_facts import epochs_in_words, run_facts
from esper_runs.run_record import RunRecord
from esper_runs.seed_table import ABLATION_AND_GAIN, seed_table
from esper_runs.several_hosts import are_several, hosts_table, result_in_words
from esper_runs.terminal import Terminal
from esper_runs.timeline_text import TimelineEntry, timeline_text

_OUTCOMES = {"completed": "good", "interrupted": "warning", "stopped": "bad", UNFINISHED: "warning"}
#: Columns for the epochs of an entry.
_EPOCHS_WIDTH = 11


def run_page(record: RunRecord, part: RunRecord, terminal: Terminal) -> Iterator[RenderableType]:
    """Yield the page of a run, with the training and the timeline of a part of it."""
    yield from separated(_sections(record, part, terminal))


def separated(sections: Iterable[RenderableType]) -> Iterator[RenderableType]:
    """Yield sections with a blank line between them."""
    for number, section in enumerate(sections):
        if number:
            yield Text()
        yield section


def _sections(record: RunRecord, part: RunRecord, terminal: Terminal) -> Iterator[RenderableType]:
    several = len(record.growing) > 1
    yield header(record, terminal)
    yield from (training_plot(part, host, terminal) for host in record.growing if part.epochs.get(host))
    if entries := timeline_text(part.timeline):
        yield terminal.section("timeline", *history(entries, terminal, several_hosts=several))
    if record.seeds:
        seeds = terminal.table(seed_table(record.seeds, several_hosts=several))
        yield terminal.section("seeds", seeds, Text(), terminal.paragraph(ABLATION_AND_GAIN, "dim"))
    if record.result is not None:
        measured = hosts_table(record.result) if are_several(record.result) else comparison(record.result)
        yield terminal.section("on the test split", terminal.table(measured))
        for said in result_in_words(record.result, each=True):
            yield terminal.paragraph(said, "title")


def header(record: RunRecord, terminal: Terminal) -> Group:
    """Return what ran, when, how it ended, and what is missing from the files."""
    facts = [*run_facts(record)]
    width = max(len(name) for name, _ in facts)
    lines = (
        terminal.paragraph(text, "warning" if name == "missing" else "", lead=f"  {name.ljust(width)}  ")
        for name, text in facts
    )
    return Group(_title(record, terminal), *lines)


def _title(record: RunRecord, terminal: Terminal) -> Text:
    outcome = terminal.text(record.outcome, _OUTCOMES.get(record.outcome, ""))
    return Text.assemble(terminal.text(record.name, "title"), ": ", outcome, f", {epochs_in_words(record)}")


def history(
    entries: Iterable[TimelineEntry], terminal: Terminal, *, several_hosts: bool = False
) -> Iterator[RenderableType]:
    """Yield the lines of a timeline; `several_hosts` names the hosts too."""
    for entry in entries:
        yield from _entry(entry, terminal, several_hosts)


def _entry(entry: TimelineEntry, terminal: Terminal, several_hosts: bool) -> Iterator[RenderableType]:
    """Figures stand below what rests on them."""
    host = entry.host if several_hosts or is_twin(entry.host) else ""
    who = " ".join(filter(None, (host, entry.about)))
    lead = f"{entry.epochs:>{_EPOCHS_WIDTH}}  "
    yield terminal.paragraph(f"{who}  {entry.text}" if who else entry.text, entry.style, lead=lead)
    for detail in entry.details:
        yield terminal.paragraph(detail, "dim", lead=" " * (len(lead) + 2), indent=len(lead) + 4)
