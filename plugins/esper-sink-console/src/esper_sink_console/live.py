"""The display that is drawn over itself while a run goes on."""

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from esper_sink_console.board import Board, HostBoard
from esper_sink_console.wording import metrics, number, paired

_STYLES = {
    "GERMINATED": "cyan",
    "TRAINING": "cyan",
    "BLENDING": "yellow",
    "PROBATIONARY": "magenta",
    "FOSSILIZED": "green",
    "CULLED": "red",
}


def display(board: Board) -> RenderableType:
    """Return hosts and slots as they stand."""
    parts: list[RenderableType] = [Text(board.title, style="bold")] if board.title else []
    if any(host.epoch is not None for host in board.hosts.values()):
        parts.append(_hosts(board))
    if any(host.slots for host in board.growing().values()):
        parts.append(_slots(board))
    return Group(*parts)


def _hosts(board: Board) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for title in ("epoch", "training", "validation", "parameters"):
        table.add_column(title, justify="right")
    for name, host in board.hosts.items():
        evidence = host.evidence
        table.add_row(
            name,
            _progress(host, board.epochs),
            metrics(evidence.get("train")),
            metrics(evidence.get("validation")),
            number(evidence.get("parameters")),
        )
    return table


def _progress(host: HostBoard, epochs: int | None) -> str:
    done = 0 if host.epoch is None else host.epoch + 1
    return f"{done}/{epochs}" if epochs else str(done)


def _slots(board: Board) -> Table:
    growing = board.growing()
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("slot", "stage", "blueprint", "alpha", "", "contribution"):
        table.add_column(title, justify="right" if title in ("alpha", "contribution") else "left")
    for name, host in growing.items():
        for slot, stage in host.slots.items():
            table.add_row(f"{name}/{slot}" if len(growing) > 1 else slot, *_slot(host, slot, stage))
    return table


def _slot(host: HostBoard, slot: str, stage: str) -> list[RenderableType]:
    shown = Text(stage, style=_STYLES.get(stage, "dim"))
    seed = host.seeds.get(slot)
    if seed is None or stage in ("DORMANT", "EMBARGOED", "RESETTING"):
        return [shown, "", "", "", ""]
    alpha = seed["alpha"]
    bar = ProgressBar(total=1.0, completed=alpha, width=12)
    return [shown, seed["blueprint"], f"{alpha:.2f}", bar, paired(seed.get("contribution"))]
