"""The display that is drawn over itself while a run goes on."""

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from esper_runs.board import CURVE, Board, HostBoard
from esper_runs.charts import Columns, level_row
from esper_runs.formatting import duration, metrics, paired, whole
from esper_runs.result import is_control, twin_of
from esper_runs.terminal import Terminal

_STYLES = {
    "GERMINATED": "cyan",
    "TRAINING": "cyan",
    "BLENDING": "yellow",
    "PROBATIONARY": "magenta",
    "FOSSILIZED": "green",
    "CULLED": "red",
}


#: Columns from which on the display has bars of alpha and air around its tables.
_WIDE = 80

#: Columns, beside the longest name, from which on hosts have sparklines; the second number is that of pairs.
_WITH_SPARKLINE = 72, 90


def display(board: Board, terminal: Terminal) -> RenderableType:
    """Return hosts and slots as they are now."""
    parts: list[RenderableType] = [terminal.text(board.title, "title")] if board.title else []
    if board.epochs:
        parts.append(_over(board, board.epochs, terminal))
    if any(host.epoch is not None for host in board.hosts.values()):
        parts.append(_hosts(board, terminal))
    if any(host.slots for host in board.growing().values()):
        parts.append(_slots(board, terminal))
    return Group(*parts)


def _over(board: Board, epochs: int, terminal: Terminal) -> Table:
    """How much of the run is over, from its first moment on."""
    left = board.seconds_left
    said = f"epoch {min(board.done + 1, epochs)} of {epochs}" if board.done < epochs else f"{epochs} epochs"
    line = Table.grid(padding=(0, 2, 0, 0))
    bar = ProgressBar(total=epochs, completed=board.done, width=24)
    line.add_row(bar, terminal.text(said + (f", about {duration(left)} left" if left else "")))
    if board.training is not None:
        host, epoch, done, steps = board.training
        inner = ProgressBar(total=steps, completed=done, width=24)
        line.add_row(inner, terminal.text(f"{host}: step {done} of {steps} of epoch {epoch + 1}"))
    return line


def _hosts(board: Board, terminal: Terminal) -> Table:
    return _pairs(board, terminal) if len(board.growing()) > 1 else _each(board, terminal)


def _pairs(board: Board, terminal: Terminal) -> Table:
    """Several hosts, each with its twin in the same row."""
    table = _table(terminal)
    table.add_column("")
    split = ["validation"] if _narrow(terminal) else ["training", "validation"]
    spark = _has_room(board, terminal, _WITH_SPARKLINE[1])
    for title in ("epoch", *split, "its twin", "parameters"):
        table.add_column(title, justify="right")
    _add_sparkline(table, spark)
    for name, host in board.growing().items():
        twin = board.hosts.get(twin_of(name), HostBoard())
        table.add_row(
            terminal.text(name),
            _progress(host, board.epochs),
            *(metrics(host.evidence.get("train" if title == "training" else title)) for title in split),
            metrics(twin.evidence.get("validation")),
            whole(host.evidence.get("parameters")),
            *_sparkline(host, terminal, spark),
        )
    return table


def _each(board: Board, terminal: Terminal) -> Table:
    table, spark = _table(terminal), _has_room(board, terminal, _WITH_SPARKLINE[0])
    table.add_column("")
    for title in ("epoch", "training", "validation", "parameters"):
        table.add_column(title, justify="right")
    _add_sparkline(table, spark)
    for name, host in board.hosts.items():
        evidence = host.evidence
        table.add_row(
            terminal.text(name),
            _progress(host, None if is_control(name) else board.epochs),
            metrics(evidence.get("train")),
            metrics(evidence.get("validation")),
            whole(evidence.get("parameters")),
            *_sparkline(host, terminal, spark),
        )
    return table


def _has_room(board: Board, terminal: Terminal, beside: int) -> bool:
    return not _narrow(terminal) and terminal.width >= beside + max(map(len, board.hosts))


def _add_sparkline(table: Table, wanted: bool) -> None:
    if wanted:
        table.add_column("loss", min_width=CURVE)


def _sparkline(host: HostBoard, terminal: Terminal, wanted: bool) -> list[RenderableType]:
    """The validation losses of the newest epochs, from the lowest to the highest of them."""
    columns = Columns.fit(range(len(host.losses)), CURVE)
    return [level_row(dict(enumerate(host.losses)), columns, terminal)] if wanted else []


def _progress(host: HostBoard, epochs: int | None) -> str:
    done = 0 if host.epoch is None else host.epoch + 1
    return f"{done}/{epochs}" if epochs else str(done)


def _slots(board: Board, terminal: Terminal) -> Table:
    growing = board.growing()
    table = _table(terminal)
    bar = [] if _narrow(terminal) else [""]
    for title in ("slot", "stage", "blueprint", "alpha", *bar, "contribution"):
        table.add_column(title, justify="right" if title in ("alpha", "contribution") else "left")
    for name, host in growing.items():
        for slot, stage in host.slots.items():
            if len(growing) > 1 and stage == "DORMANT":
                continue  # of many hosts, only what grows has room
            who = terminal.text(f"{name}/{slot}" if len(growing) > 1 else slot)
            table.add_row(who, *_slot(host, slot, stage, terminal))
    return table


def _slot(host: HostBoard, slot: str, stage: str, terminal: Terminal) -> list[RenderableType]:
    shown = Text(stage, style=_STYLES.get(stage, "dim"))
    seed = host.seeds.get(slot)
    if seed is None or stage in ("DORMANT", "EMBARGOED", "RESETTING"):
        return [shown]
    alpha = seed["alpha"]
    bar: list[RenderableType] = [] if _narrow(terminal) else [ProgressBar(total=1.0, completed=alpha, width=12)]
    contribution = terminal.text(paired(seed.get("contribution")))
    return [shown, terminal.text(seed["blueprint"]), f"{alpha:.2f}", *bar, contribution]


def _table(terminal: Terminal) -> Table:
    if _narrow(terminal):
        return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    return Table(box=box.SIMPLE_HEAD)


def _narrow(terminal: Terminal) -> bool:
    return terminal.width < _WIDE
