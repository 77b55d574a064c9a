"""One seed, or all seeds of one slot, in detail: epoch by epoch, and every verdict of every gate."""

from collections.abc import Iterator, Mapping
from typing import Any

from esper_app_report.run_page import header, history, section
from esper_app_report.terminal import Terminal
from esper_app_report.training_plot import training_plot
from esper_runs.formatting import as_number, loss, paired, percent, value_in_words, whole
from esper_runs.run_record import RunRecord
from esper_runs.seed_table import ABLATION_AND_GAIN, ending, lifetime
from esper_runs.tables import table
from esper_runs.timeline_text import timeline_text

_HEADERS = ("epoch", "stage", "alpha", "gradients", "update", "trial", "ablation", "gain", "accuracy")
_EXPLAINED = (
    "Gradients: the seed's beside the host's. Update: its rms beside that of what it is added to. Trial: the loss "
    "without the seed minus the loss with a little of it. Accuracy: of the network, on validation samples. "
)


def seed_page(record: RunRecord, part: RunRecord, terminal: Terminal) -> str:
    """Return the page of a part of a record that follows one slot or one seed."""
    parts = [header(record, terminal)]
    for host in record.growing:
        seeds = [seed for seed in part.seeds if seed["host"] == host]
        slots = list(dict.fromkeys(seed["slot"] for seed in seeds))
        if slots and part.epochs.get(host):
            parts.append(training_plot(part, host, terminal, slots))
        parts += [section(_title(seed), "\n\n".join(_life(part, seed, terminal)), terminal) for seed in seeds]
    parts.append(
        terminal.paint(terminal.wrap(_EXPLAINED + ABLATION_AND_GAIN), "dim") if part.seeds else "No seed was here."
    )
    return terminal.finish("\n\n".join(parts))


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


def _life(record: RunRecord, seed: Mapping[str, Any], terminal: Terminal) -> Iterator[str]:
    if rows := list(_rows(record, seed)):
        yield table(_HEADERS, rows, right=(0, *range(2, len(_HEADERS))))
    of_seed = [h for h in record.timeline if (h.host, h.seed_id) == (seed["host"], seed["seed_id"])]
    if of_seed:
        yield history(timeline_text(of_seed, every_verdict=True), terminal)


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
                    percent(data["validation"]["accuracy"]),
                )


def _ratio(value: Any) -> str:
    return "-" if as_number(value) is None else value_in_words(as_number(value))
