"""``esper report``: runs as one HTML file."""

from pathlib import Path

import click


@click.command(short_help="Write runs as one HTML file.")
@click.argument("runs", metavar="RUN...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="Where to write; an earlier report there is replaced.",
)
def report(runs: tuple[Path, ...], output: Path) -> None:
    """Write what runs did, with charts, as one HTML file that needs no network and no other file.

    RUN is a run's directory, or its name under runs/; `last` is the newest one. Several are compared, seed by seed
    where they share random seeds. Runs that are not over are shown as far as their files go.
    """
    # Imported here: `--help` needs none of it.
    from esper_app_report.html.page import report_page
    from esper_runs.formatting import size
    from esper_runs.printing import echo
    from esper_runs.reading import reading
    from esper_runs.run_list import locate_run
    from esper_runs.run_record import read_run_record

    directories = [locate_run(run) for run in runs]
    records = [read_run_record(directory) for directory in directories]
    names = ", ".join(directory.name for directory in directories)
    with reading(f"what is in {names}", directories[0].path):
        page = report_page(records).encode()
    _write(output, page)
    echo(f"report: {output} ({size(len(page))})")


def _write(output: Path, page: bytes) -> None:
    """Replace an earlier report, and nothing else."""
    from esper_app_report.html.page import OPENING
    from esper_core.api import EsperError
    from esper_runs.reading import read_regular
    from esper_runs.run_directory import write_atomically

    fix = "choose another place: --output FILE"
    try:
        there = output.is_symlink() or output.exists()
        if there and not read_regular(output, inside=output.parent).startswith(OPENING.encode()):
            why = "there is a file that is no report of Esper"
            raise EsperError("E501", f'"{output}" cannot be written', why=why, fix=fix)
        write_atomically(output, page)
    except OSError as error:
        why = error.strerror or str(error)
        raise EsperError("E501", f'"{output}" cannot be written', why=why, fix=fix) from error
