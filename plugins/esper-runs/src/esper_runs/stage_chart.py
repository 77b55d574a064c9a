"""The stages of slots over the epochs of a run: a row for each slot, a letter for each stage, alpha while blending."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from esper_core.leyline.stages import Stage
from esper_runs.charts import Columns
from esper_runs.formatting import as_number
from esper_runs.terminal import Terminal

#: Symbol and colour of each stage, by which screens show it. Where several share a column, the last one in this order
#: is shown: what a seed has reached hides what came before, and an end hides everything.
SYMBOLS: Mapping[Stage, tuple[str, str]] = {
    Stage.DORMANT: ("·", "dim"),
    Stage.RESETTING: ("r", "dim"),
    Stage.EMBARGOED: ("e", "dim"),
    Stage.GERMINATED: ("g", "cyan"),
    Stage.TRAINING: ("T", "cyan"),
    Stage.BLENDING: ("B", "yellow"),
    Stage.PROBATIONARY: ("P", "magenta"),
    Stage.FOSSILIZED: ("F", "green"),
    Stage.CULLED: ("x", "red"),
}
_RANKS = {stage: rank for rank, stage in enumerate(SYMBOLS)}


def stage_row(epochs: Sequence[Mapping[str, Any]], slot: str, columns: Columns, terminal: Terminal) -> Text:
    """Draw one slot; blank where an epoch was not logged.

    Args:
        epochs: data of the host's completed epochs.
        slot: the slot.
        columns: the epochs of the chart.
        terminal: draws.
    """
    known = {data["epoch"]: data for data in epochs}
    shared = ([known[epoch] for epoch in span if epoch in known] for span in columns.spans)
    return Text.assemble(*(_cell(together, slot, terminal) for together in shared))


def legend(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Explain the symbols of the stages that occur, in the order of a seed's life."""
    present = {Stage[name] for data in epochs for name in data["slots"].values()}
    shown = [
        f"0-9 {stage.name} (tenths of alpha), {symbol} at alpha 1"
        if stage is Stage.BLENDING
        else f"{symbol} {stage.name}"
        for stage in Stage
        if stage in present
        for symbol in [SYMBOLS[stage][0]]
    ]
    return ", ".join(shown)


def _cell(epochs: list[Mapping[str, Any]], slot: str, terminal: Terminal) -> Text:
    there = [data for data in epochs if slot in data["slots"]]
    if not there:
        return Text(" ")
    furthest = max(there, key=lambda data: (_RANKS[Stage[data["slots"][slot]]], data["epoch"]))
    stage = Stage[furthest["slots"][slot]]
    symbol, colour = SYMBOLS[stage]
    return terminal.text(_tenths(furthest, slot) or symbol if stage is Stage.BLENDING else symbol, colour)


def _tenths(data: Mapping[str, Any], slot: str) -> str:
    """Alpha at the epoch's end, rounded down; nothing once it has arrived."""
    alphas = [as_number(seed["alpha"]) for seed in data["seeds"] if seed["slot"] == slot]
    alpha = alphas[0] if alphas else None
    return "" if alpha is None or not alpha < 1 else str(int(10 * alpha + 1e-6))
