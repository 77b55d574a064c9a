"""The parts of the screen, drawn from what is shown: pure functions of data and a width.

Whatever comes from a run is drawn through `esper_runs.terminal`, which knows no markup and lets nothing through that a
terminal would obey.
"""

from collections.abc import Iterator

from attrs import evolve
from rich.console import RenderableType
from rich.text import Text

from esper_app_watch.model import Shown, ShownHost, ShownSlot
from esper_core.api import Stage
from esper_runs.comparison import comparison
from esper_runs.formatting import MISSING, duration, figure, loss, metrics, paired, percent, whole
from esper_runs.record_tables import governor_table
from esper_runs.result import UNFINISHED
from esper_runs.seed_table import ABLATION_AND_GAIN, seed_table
from esper_runs.several_hosts import are_several, hosts_table
from esper_runs.stage_chart import SYMBOLS
from esper_runs.tables import Cell, Column, Table
from esper_runs.terminal import Terminal

#: How a run ended, or that it has not.
OUTCOMES = {"completed": "good", "interrupted": "warning", "stopped": "bad", UNFINISHED: "warning"}

#: No table has more rows than this.
DRAWN = 100

_MODES = {"normal": "good", "conservative": "warning", "stopped": "bad"}
_ALPHA_WIDTH = 8
#: A run of which nothing has been heard for so long is likely to have ended.
_SILENT_SECONDS = 120


def headline(run: Shown, now: float, terminal: Terminal, before: str = "") -> Text:
    """Return a line about the run: how far it is, and for how long it will go on.

    Args:
        run: the run.
        now: seconds since 1970.
        terminal: draws.
        before: stands in front of it.
    """
    parts = [terminal.text(before, "bold"), terminal.text(_one_line(run.name), "title"), terminal.text("  ")]
    parts.append(terminal.text(_one_line(run.outcome), OUTCOMES.get(run.outcome, "")))
    for said in _progress(run, now):
        parts.append(terminal.text(f"  {said}"))
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _progress(run: Shown, now: float) -> Iterator[str]:
    if run.reading:
        yield f"reading, {run.reading / 1e6:.1f} MB to go"
    if run.round is not None:
        yield f"round {run.round + 1}" + (f"/{run.planned_rounds}" if run.planned_rounds else "")
    yield f"epoch {run.epochs_done}" + (f"/{run.planned_epochs}" if run.planned_epochs else "")
    if run.outcome == UNFINISHED and run.last_event is not None and not run.reading:
        silent = max(0.0, now - run.last_event)
        if silent > _SILENT_SECONDS:
            yield f"silent for {duration(silent)}"
        elif run.seconds_left:
            yield f"about {duration(run.seconds_left)} left"


def overview(run: Shown, terminal: Terminal) -> Iterator[RenderableType]:
    """Yield the hosts, their slots, what was found at the end, the newest notes, and what is wrong with the files."""
    for problem in run.problems:
        yield terminal.paragraph(problem, "bad" if problem.startswith("[") else "warning", lead="! ")
    if run.problems:
        yield Text()
    if run.title:
        yield terminal.paragraph(run.title, "dim")
    if run.planned_epochs:
        yield _bar(run.epochs_done, run.planned_epochs, terminal)
    if run.hosts:
        yield Text()
        yield terminal.table(_hosts_table(run))
        yield Text()
        yield terminal.section("slots", terminal.table(_slots_table(run)))
    else:
        yield terminal.paragraph("No epoch has been completed yet.")
    yield from _at_the_end(run, terminal)
    for said in run.verdict:
        yield Text()
        yield terminal.paragraph(said, "title")
    if run.notes:
        yield Text()
        newest = governor_table(run.notes[-3:], several_hosts=run.several)
        yield terminal.section("newest notices", terminal.table(newest))


def _at_the_end(run: Shown, terminal: Terminal) -> Iterator[RenderableType]:
    if run.result is not None:
        measured = hosts_table(run.result) if are_several(run.result) else comparison(run.result)
        yield Text()
        yield terminal.section("on the test split", terminal.table(measured))


def newest_notice(run: Shown, terminal: Terminal) -> Text:
    """Return the newest notice or problem in a line, which every tab shows; an empty one if there is none."""
    if run.problems:
        return terminal.text(f"! {_one_line(run.problems[0])}", "bad" if run.problems[0].startswith("[") else "warning")
    if not run.notes:
        return Text()
    (row,) = governor_table(run.notes[-1:], several_hosts=run.several).texts
    epoch, *rest = (cell for cell in row if cell)
    when = "" if epoch == MISSING else f"epoch {epoch} "
    return terminal.text(f"! {when}{_one_line(' '.join(rest))}", "warning")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def newest_rows(table: Table) -> Table:
    """Return the last rows of a table, the newest first."""
    return evolve(table, rows=table.rows[: -DRAWN - 1 : -1])


def _bar(done: int, planned: int, terminal: Terminal) -> Text:
    width = min(40, max(10, terminal.width - 10))
    full = min(width, width * done // planned)
    return terminal.text("█" * full + "░" * (width - full) + f" {percent(min(1.0, done / planned))}")


def _hosts_table(run: Shown) -> Table:
    """A row for each growing host with its twin beside it."""
    columns = (
        Column("host"),
        Column("epoch", right=True),
        Column("training", right=True, spare=True),
        Column("validation", right=True),
        Column("twin", right=True),
        Column("gain in loss", right=True),
        Column("parameters", right=True, spare=True),
        Column("governor"),
    )
    rows = []
    for name in run.growing:
        host = run.hosts[name]
        twin = run.hosts.get(host.twin or "")
        gain = host.figures.get("gain")
        rows.append(
            (
                name,
                whole(host.epochs),
                _measured(host, "train"),
                _measured(host, "validation"),
                _measured(twin, "validation"),
                Cell(loss(gain, signed=True), "" if not gain else "good" if gain > 0 else "bad"),
                whole(host.figures.get("parameters")),
                Cell(host.mode, _MODES.get(host.mode, "")),
            )
        )
    return Table(columns=columns, rows=tuple(rows))


def _measured(host: ShownHost | None, split: str) -> str:
    if host is None:
        return MISSING
    found = {name: host.figures.get(f"{split}/{name}") for name in ("accuracy", "loss")}
    return metrics(found) if any(value is not None for value in found.values()) else MISSING


def _slots_table(run: Shown) -> Table:
    columns = (
        Column("slot"),
        Column("stage"),
        Column("blueprint"),
        Column("alpha", right=True),
        Column("", spare=True),
        Column("contribution", right=True),
        Column("in stage", right=True, spare=True),
    )
    rows = [
        (f"{name}/{slot.slot}" if run.several else slot.slot, *_slot(slot))
        for name in run.growing
        for slot in run.hosts[name].slots
    ]
    return Table(columns=columns, rows=tuple(rows))


def _slot(slot: ShownSlot) -> tuple[Cell | str, ...]:
    symbol, colour = SYMBOLS[Stage[slot.stage]] if slot.stage in Stage.__members__ else ("?", "")
    stage = Cell(f"{symbol} {slot.stage}", colour)
    if slot.seed_id is None:
        return (stage, *("",) * 5)
    alpha = slot.alpha
    full = 0 if alpha is None or not 0 <= alpha <= 1 else round(alpha * _ALPHA_WIDTH)
    return (
        stage,
        slot.blueprint or "",
        MISSING if alpha is None else f"{alpha:.2f}",
        "█" * full + "░" * (_ALPHA_WIDTH - full),
        paired(slot.contribution),
        whole(slot.epochs_in_stage),
    )


def seeds(run: Shown, terminal: Terminal) -> Iterator[RenderableType]:
    """Yield what became of each seed, and each gate with its latest verdict and the evidence."""
    if not run.seeds and not run.gates.rows:
        yield terminal.paragraph("No seed has been germinated.")
    if run.seeds:
        table = newest_rows(seed_table(run.seeds, several_hosts=run.several))
        left_out = f", the newest {DRAWN} of {whole(len(run.seeds))}" if len(run.seeds) > DRAWN else ""
        yield terminal.section(f"seeds, the newest first{left_out}", terminal.table(table))
        yield terminal.paragraph(ABLATION_AND_GAIN, "dim")
        yield Text()
    if run.gates.rows:
        yield terminal.section("gates, the newest first", terminal.table(newest_rows(run.gates)))


def governor(run: Shown, terminal: Terminal) -> Iterator[RenderableType]:
    """Yield the mode of each host, what the governor did, plugins that failed, notices, and what diagnostics found."""
    modes = Table(
        columns=(Column("host"), Column("governor"), Column("reason", prose=True)),
        rows=tuple(
            (name, Cell(run.hosts[name].mode, _MODES.get(run.hosts[name].mode, "")), run.hosts[name].why)
            for name in run.growing
        ),
    )
    yield terminal.section("governor", terminal.table(modes))
    yield Text()
    if run.notes:
        newest = newest_rows(governor_table(run.notes, several_hosts=run.several))
        yield terminal.section("notices, the newest first", terminal.table(newest))
    else:
        yield terminal.paragraph("The governor has denied nothing, no plugin has failed, and there are no notices.")
    for name in run.growing:
        if found := run.hosts[name].findings:
            rows = tuple((key, figure(value)) for key, value in sorted(found.items()))
            table = Table(columns=(Column("figure"), Column("latest", right=True)), rows=rows)
            yield Text()
            yield terminal.section(f"diagnostics of {name}", terminal.table(table))
