"""How the training of one host went: stages, sizes, accuracy and loss over the same columns of epochs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from esper_runs.charts import BOTH, Columns, Curve, level_row, line_chart
from esper_runs.formatting import as_number, flops, loss, percent, whole
from esper_runs.result import twin_of
from esper_runs.run_record import RunRecord
from esper_runs.stage_chart import legend, stage_row
from esper_runs.terminal import Terminal

#: A label and a drawing; without a drawing, a text of its own.
Row = tuple[str, Text | None]
#: Data of a host's completed epochs, oldest first.
Epochs = Sequence[Mapping[str, Any]]

_GROWN_MARK, _TWIN_MARK = "*", "o"
#: This many changes of a size are listed one by one.
_MOST_CHANGES = 8


def training_plot(record: RunRecord, host: str, terminal: Terminal, slots: Sequence[str] | None = None) -> Group:
    """Draw the training of a host that has completed an epoch; all of its slots, or these only."""
    epochs, twin = record.epochs[host], record.epochs.get(twin_of(host), ())
    shown = record.slots(host) if slots is None else slots
    gutter = max(len(label) for label in (*shown, "parameters"))
    columns = Columns.fit(range(epochs[0]["epoch"], epochs[-1]["epoch"] + 1), terminal.width - gutter - 3)
    rows = [*_stages(epochs, shown, columns, terminal), *_sizes(epochs, twin, columns, terminal)]
    rows += _curves(host, epochs, twin, columns, terminal)
    heading = f"{host}: the stages of its slots, epoch by epoch"
    if columns.epochs_per_column > 1:
        heading += f" ({columns.epochs_per_column} epochs share a column, which shows the latest stage reached)"
    return Group(terminal.paragraph(heading, "title"), *(_line(*row, gutter, terminal) for row in rows))


def _line(label: str, drawing: Text | None, gutter: int, terminal: Terminal) -> RenderableType:
    if drawing is None:
        return terminal.paragraph(label)
    line = terminal.text(f"{label:>{gutter}} | ") + drawing
    line.rstrip()
    return line


def _stages(epochs: Epochs, slots: Sequence[str], columns: Columns, terminal: Terminal) -> Iterator[Row]:
    for slot in slots:
        yield slot, stage_row(epochs, slot, columns, terminal)
    yield "epoch", Text(columns.axis())
    yield legend(epochs), None


def _sizes(epochs: Epochs, twin: Epochs, columns: Columns, terminal: Terminal) -> Iterator[Row]:
    yield "", None
    measured = [
        (title, _series(epochs, key), _series(twin, key), write)
        for title, key, write in (("parameters", "parameters", whole), ("forward", "forward_flops", flops))
    ]
    for title, values, _, _ in measured:
        if values:
            yield title, level_row(values, columns, terminal)
    for title, values, control, write in measured:
        if values:
            beside = f"; twin {write([*control.values()][-1])}" if control else ""
            yield f"{title}: {_changes(values, write)}{beside}", None


def _curves(host: str, epochs: Epochs, twin: Epochs, columns: Columns, terminal: Terminal) -> Iterator[Row]:
    beside = f", {_TWIN_MARK} twin, {BOTH} both" if twin else ""
    for title, keys, write in (
        ("validation accuracy", ("validation", "accuracy"), percent),
        ("validation loss in nats", ("validation", "loss"), loss),
    ):
        curves = [Curve(mark=_GROWN_MARK, style="grown", values=_series(epochs, *keys))]
        curves += [Curve(mark=_TWIN_MARK, style="twin", values=_series(twin, *keys))] if twin else []
        if drawn := list(line_chart(curves, columns, terminal, write)):
            yield "", None
            yield f"{title}: {_GROWN_MARK} {host}{beside}", None
            yield from drawn
            yield "epoch", Text(columns.axis())


def _series(epochs: Epochs, *keys: str) -> dict[int, float]:
    """Return a quantity by epoch; epochs in which it was not measured are left out."""
    found = {}
    for data in epochs:
        value: Any = data
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if (measured := as_number(value)) is not None:
            found[data["epoch"]] = measured
    return found


def _changes(values: Mapping[int, float], write: Callable[[float], str]) -> str:
    listed: list[str] = []
    before: float | None = None
    for epoch, value in values.items():
        if value != before:
            listed.append(write(value) if before is None else f"{write(value)} from epoch {epoch + 1}")
            before = value
    if len(listed) > _MOST_CHANGES:
        left_out = len(listed) - _MOST_CHANGES
        listed = [*listed[: _MOST_CHANGES // 2], f"… ({left_out} changes)", *listed[-_MOST_CHANGES // 2 :]]
    return ", ".join(listed)
