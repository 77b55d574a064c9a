"""``esper show``: what a run did."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from esper_runs.run_record import RunRecord


def _epoch_range(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int | None, int | None]:
    """Return the first and the last epoch, counted from 0; None is not a bound."""
    # Imported here: `--help` needs none of it.
    from esper_runs.epoch_range import epoch_range

    try:
        return (None, None) if value is None else epoch_range(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(short_help="Show what a run did.")
@click.argument("run", type=click.Path(path_type=Path), default=Path("last"))
@click.option("--slot", metavar="SLOT", help="Follow the seeds of one slot: every verdict of every gate.")
@click.option("--seed", "seed_id", metavar="SEED", help="Follow one seed: every verdict of every gate.")
@click.option(
    "--epochs", metavar="A-B", callback=_epoch_range, help="These epochs only, counted from 1; A- and -B too."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as data; epochs are counted from 0.")
@click.option("--width", type=click.IntRange(min=40), help="Columns to draw in.  [default: the terminal's]")
def show(
    run: Path,
    slot: str | None,
    seed_id: str | None,
    epochs: tuple[int | None, int | None],
    as_json: bool,
    width: int | None,
) -> None:
    """Show what a run did: stages, gates, seeds, and the network beside its twin.

    RUN is a run's directory, or its name under runs/; `last`, the default, is the newest one. Runs that are still going
    on, and those that were interrupted or killed, are shown as far as their files go.
    """
    # Imported here: `--help` needs none of it.
    from esper_runs.printing import echo_json
    from esper_runs.reading import reading
    from esper_runs.run_list import locate_run
    from esper_runs.run_record import Selection, read_run_record, select

    directory = locate_run(run)
    record = read_run_record(directory)
    with reading(f'run "{directory.name}"', directory.path):
        _check_names(record, slot, seed_id)
        _check_epochs(record, epochs[0])
        part = select(record, Selection(slot=slot, seed_id=seed_id, first=epochs[0], last=epochs[1]))
        if as_json:
            echo_json(part)
            return
    # Imported here: rich takes as long to load as everything else.
    from esper_app_report.run_page import run_page
    from esper_app_report.seed_page import seed_page
    from esper_runs.terminal import Terminal

    terminal = Terminal(sys.stdout, width)
    page = run_page if slot is None and seed_id is None else seed_page
    with reading(f'run "{directory.name}"', directory.path):
        drawn = [*page(record, part, terminal)]
    terminal.print(*drawn)


def _check_names(record: "RunRecord", slot: str | None, seed_id: str | None) -> None:
    """A slot or seed that the files do not mention is a mistake, not an empty page."""
    from esper_core.api import EsperError, did_you_mean

    slots = {name for host in record.epochs for name in record.slots(host)} | {seed["slot"] for seed in record.seeds}
    seeds = {seed["seed_id"] for seed in record.seeds}
    for kind, name, known in (("slot", slot, slots), ("seed", seed_id, seeds)):
        if name is not None and name not in known:
            raise EsperError("E520", f'run "{record.name}" has no {kind} "{name}"', fix=did_you_mean(name, known))


def _check_epochs(record: "RunRecord", first: int | None) -> None:
    from esper_core.api import EsperError

    done = record.epochs_done
    if first is not None and done and first >= done:
        fix = f"--epochs takes numbers from 1 to {done}"
        raise EsperError("E520", f'run "{record.name}" has no epoch {first + 1}', why=f"it ended after {done}", fix=fix)
