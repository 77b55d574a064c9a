"""The tables at the end of a run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from esper_sink_console.board import TWIN
from esper_sink_console.verdict import verdict
from esper_sink_console.wording import MISSING, flops, loss, number, paired, percent, points, seconds

#: Row title, key, how to write a value, how to write a difference.
_ROWS: tuple[tuple[str, str, Callable[..., str], Callable[[Any], str]], ...] = (
    ("test accuracy", "test_accuracy", percent, points),
    ("test loss", "test_loss", loss, lambda value: MISSING if value is None else f"{value:+.3f}"),
    ("parameters", "parameters", number, lambda value: number(value, signed=True)),
    ("forward pass", "forward_flops", flops, lambda value: flops(value, signed=True)),
    ("training time", "train_seconds", seconds, lambda value: seconds(value, signed=True)),
    ("epochs", "epochs", number, lambda _: ""),
)

#: Columns that the table of seeds takes when a reason has some room.
_WIDE = 110


def final_report(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the comparison, the seeds' histories and the verdict."""
    yield _comparison(result)
    if result.get("seeds"):
        yield _Seeds(result["seeds"])
        yield Text(
            "ablation: loss without the seed minus loss with it, how much the network depends on it. gain: the twin's "
            "loss minus the network's as last measured, what the network as a whole has gained.",
            style="dim",
        )
    yield Padding(Text(verdict(result), style="bold"), (1, 0))


def _comparison(result: Mapping[str, Any]) -> Table:
    hosts: Mapping[str, Mapping[str, Any]] = result.get("hosts", {})
    names = sorted(hosts, key=lambda name: name != TWIN)
    difference = result.get("difference")
    table = Table(title=f"{result.get('task', '')}", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("")
    for name in [*names, *(["difference"] if difference else [])]:
        table.add_column(name, justify="right")
    for title, key, write, write_difference in _ROWS:
        cells: list[RenderableType] = [write(hosts[name].get(key)) for name in names]
        if difference:
            cells.append(_coloured(key, difference.get(key), write_difference))
        table.add_row(title, *cells)
    return table


def _coloured(key: str, value: Any, write: Callable[[Any], str]) -> Text:
    style = ""
    if key == "test_accuracy" and value:
        style = "green" if value > 0 else "red"
    return Text(write(value), style=style)


class _Seeds:
    """The seeds' histories: a table, and where the terminal is narrow a smaller one with sentences below it."""

    def __init__(self, seeds: Sequence[Mapping[str, Any]]) -> None:
        self.seeds = seeds

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= _WIDE
        yield self._table(wide)
        if not wide:
            for seed in self.seeds:
                since = "since epoch" if seed.get("ended_epoch") is None else "epochs"
                ended = f"{seed['slot']}, {since} {_epochs(seed).removesuffix(' to')}: {seed['final_stage']}"
                yield Text(": ".join(filter(None, (ended, seed.get("reason")))))
            yield Text()

    def _table(self, wide: bool) -> Table:
        table = Table(title="seeds", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
        table.add_column("slot", overflow="fold")
        table.add_column("blueprint", overflow="fold")
        table.add_column("parameters", justify="right")
        if wide:
            table.add_column("epochs", justify="right")
            table.add_column("end")
        for title in ("ablation", "gain"):
            table.add_column(title, justify="right", no_wrap=True)
        if wide:
            table.add_column("reason", overflow="fold")
        for seed in self.seeds:
            history = (_epochs(seed), seed["final_stage"]) if wide else ()
            reason = (seed.get("reason") or "",) if wide else ()
            evidence = (paired(seed.get("ablation")), paired(seed.get("gain")))
            table.add_row(seed["slot"], seed["blueprint"], number(seed["parameters"]), *history, *evidence, *reason)
        return table


def _epochs(seed: Mapping[str, Any]) -> str:
    """From germination to the end, counted from 1 as in the display; open if the seed is still live."""
    end = seed.get("ended_epoch")
    return f"{seed['germinated_epoch'] + 1} to {'' if end is None else end + 1}".rstrip()
