"""One seed, or all seeds of one slot, in detail: epoch by epoch, and every verdict of every gate."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from esper_app_report.run_page import header, history, separated
from esper_app_report.training_plot import training_plot
from esper_runs.formatting import as_number, known, loss, paired, percent, value_in_words, whole
from esper_runs.run_record import RunRecord
from esper_runs.seed_table import ABLATION_AND_GAIN, ending, lifetime
from esper_runs.tables import Column, Table
from esper_runs.terminal import Terminal
from esper_runs.timeline_text import timeline_text

_COLUMNS = (
    Column("epoch", right=True),
    Column("stage"),
    *(Column(t, right=True) for t in ("alpha", "gradients", "update", "trial", "ablation", "gain", "network")),
)
_EXPLAINED = (
    "Gradients: the seed's beside the host's. Update: its rms beside that of what it is added to. Trial: the loss "
    "without the seed minus the loss with a little of it. Network: validation accuracy of the whole network, or "
    "its loss. "
)


def seed_page(record: RunRecord, part: RunRecord, terminal: Terminal) -> Iterator[RenderableType]:
    """Yield the page of a part of a run that follows one slot or one seed."""
    yield from separated(_sections(record, part, terminal))


def _sections(record: RunRecord, part: RunRecord, terminal: Terminal) -> Iterator[RenderableType]:
    yield header(record, terminal)
    for host in record.growing:
        seeds = [seed for seed in part.seeds if seed["host"] == host]
        slots = list(dict.fromkeys(seed["slot"] for seed in seeds))
        if slots and part.epochs.get(host):
            yield training_plot(part, host, terminal, slots)
        for seed in seeds:
            title = terminal.paragraph(_title(seed), "title")
            yield Group(title, *separated(_details(part, seed, terminal)))
    yield terminal.paragraph(_EXPLAINED + ABLATION_AND_GAIN, "dim") if part.seeds else Text("There was no seed here.")


def _title(seed: Mapping[str, Any]) -> str:
    parts = [
        f"{seed['seed_id']}: {seed['blueprint']}",
        f"{whole(seed['parameters'])} parameters",
        f"epochs {lifetime(seed)}",
        ending(seed),
        f"ablation {paired(seed['ablation'])}",
        f"gain {paired(seed['gain'])}",
    ]
    return ", ".join(parts)


def _details(record: RunRecord, seed: Mapping[str, Any], terminal: Terminal) -> Iterator[RenderableType]:
    if rows := tuple(_rows(record, seed)):
        yield terminal.table(Table(columns=_COLUMNS, rows=rows))
    of_seed = [e for e in record.timeline if (e.host, e.seed_id) == (seed["host"], seed["seed_id"])]
    if of_seed:
        yield Group(*history(timeline_text(of_seed, every_verdict=True), terminal))


def _rows(record: RunRecord, seed: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for data in record.epochs.get(seed["host"], ()):
        for evidence in data["seeds"]:
            if evidence["seed_id"] == seed["seed_id"]:
                yield (
                    str(data["epoch"] + 1),
                    evidence["stage"],
                    loss(evidence["alpha"]),
                    _ratio(evidence["gradient_ratio"]),
                    _ratio(evidence["update_ratio"]),
                    paired(evidence["probe"]),
                    paired(evidence["contribution"]),
                    paired(evidence["host_gain"]),
                    _network(data["validation"]),
                )


def _ratio(value: Any) -> str:
    return value_in_words(as_number(value))


def _network(split: Mapping[str, Any]) -> str:
    accuracy = known(split["accuracy"])
    return loss(split["loss"]) if accuracy is None else percent(accuracy)
