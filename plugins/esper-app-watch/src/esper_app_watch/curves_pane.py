"""The curves of a host on the screen, beside those of its twin."""

from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.text import Text

from esper_app_watch.model import Shown, ShownHost
from esper_runs.charts import BOTH, Columns, Curve, line_chart
from esper_runs.formatting import loss, percent
from esper_runs.stage_chart import legend, stage_row
from esper_runs.terminal import Terminal

_GROWN_MARK, _TWIN_MARK = "*", "o"


def curves(run: Shown, name: str, terminal: Terminal, height: int = 8) -> Iterator[RenderableType]:
    """Yield the stages of a host's slots, and its curves against its twin's, over the same epochs."""
    host = run.hosts.get(name)
    if host is None or not host.stages:
        yield terminal.paragraph("No epoch has been completed yet.")
        return
    twin = run.hosts.get(host.twin or "")
    slots = [slot.slot for slot in host.slots]
    gutter = max(map(len, [*slots, "100.0 %"]))
    first, last = host.stages[0]["epoch"], max(host.epochs - 1, host.stages[-1]["epoch"])
    columns = Columns.fit(range(first, last + 1), terminal.width - gutter - 3)
    axis = _line("epoch", Text(columns.axis()), gutter, terminal)
    shared = f", {columns.epochs_per_column} epochs in a column" if columns.epochs_per_column > 1 else ""
    yield terminal.paragraph(f"{name}: stages of its slots{shared}", "title")
    for slot in slots:
        yield _line(slot, stage_row(host.stages, slot, columns, terminal), gutter, terminal)
    yield axis
    yield terminal.paragraph(legend(host.stages), "dim")
    beside = f", {_TWIN_MARK} twin, {BOTH} both" if twin else ""
    for title, metric, write in (
        ("validation accuracy", "validation/accuracy", percent),
        ("validation loss in nats", "validation/loss", loss),
    ):
        drawn = _chart(host, twin, metric, columns, terminal, write, height)
        if not drawn:
            continue
        now = f"; now {_now(host, metric, write)}" + (f", twin {_now(twin, metric, write)}" if twin else "")
        yield Text()
        yield terminal.paragraph(f"{title}: {_GROWN_MARK} {name}{beside}{now}", "title")
        yield from (_line(label, line, gutter, terminal) for label, line in drawn)
        yield axis


def _now(host: ShownHost, metric: str, write: Callable[[float | None], str]) -> str:
    return write(host.figures.get(metric))


def _chart(
    host: ShownHost,
    twin: ShownHost | None,
    metric: str,
    columns: Columns,
    terminal: Terminal,
    write: Callable[[float], str],
    height: int,
) -> list[tuple[str, Text]]:
    lines = [Curve(mark=_GROWN_MARK, style="grown", values=host.curves.get(metric, {}))]
    if twin is not None:
        lines.append(Curve(mark=_TWIN_MARK, style="twin", values=twin.curves.get(metric, {})))
    return list(line_chart(lines, columns, terminal, write, height))


def _line(label: str, drawing: Text, gutter: int, terminal: Terminal) -> Text:
    line = terminal.text(f"{label:>{gutter}} | ") + drawing
    line.no_wrap, line.overflow = True, "crop"
    return line
