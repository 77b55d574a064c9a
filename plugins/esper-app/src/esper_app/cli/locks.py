"""``esper plugins lock`` and ``esper plugins diff``, and what keeps a run to a lock."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from esper_app.cli.loading import warn_of_problems
from esper_app.cli.options import plugin_options
from esper_app.configuration.plugin_selection import PluginOptions, select
from esper_app.locks.lock import LOCK, PluginLock, current_lock, read_lock
from esper_app.locks.lock_difference import Difference, Differs, differences, keep_to
from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.leyline.records import to_json
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.selection import Selection
from esper_runs.printing import echo
from esper_runs.reading import read_regular
from esper_runs.run_directory import write_atomically
from esper_runs.tables import table


@click.command(short_help="Write down the plugins that a run would have now.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="Write this file instead of printing."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "requirements"]),
    default="json",
    show_default=True,
    help="A lock, or lines for `pip install -r`.",
)
@plugin_options
def lock(output: Path | None, form: str, plugin_options: PluginOptions) -> None:
    """Write down the plugins that a run would have now: versions, digests of their code, and call order.

    `esper run --locked FILE` takes no others, `esper plugins diff FILE` shows what has changed since.
    """
    present = _present(plugin_options)
    text = present.as_json() if form == "json" else requirements(present)
    if output is None:
        echo(text, nl=False)
        return
    _write(output, text, replace=_is_lock if form == "json" else lambda path: False)
    echo(f"wrote {output}", err=True)


@click.command(short_help="Show how two plugin sets differ.")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a list of differences.")
@plugin_options
def diff(a: Path, b: Path | None, as_json: bool, plugin_options: PluginOptions) -> None:
    """Show how two plugin sets differ; the exit status is 1 if they do.

    A and B are locks, manifests, or directories of runs. Of a run, what took part in it counts. Without B, A is
    compared with what `esper plugins lock` would write now; where A is a run, what else is installed does not count.
    """
    first = read_lock(a)
    if b is not None and plugin_options != PluginOptions():
        raise click.UsageError("options that select plugins are for comparing with what is installed; leave out B")
    second = _present(plugin_options) if b is None else read_lock(b)
    if first.of_run and b is None:
        took_part = {it.id for it in first.plugins}
        second = PluginLock(core=second.core, plugins=tuple(it for it in second.plugins if it.id in took_part))
    found = differences(first, second)
    if as_json:
        echo(to_json(found, indent=2))
    else:
        echo(difference_table(found, str(a), "installed" if b is None else str(b)) if found else "no difference")
    if found:
        raise SystemExit(ExitCode.FAILED)


def locked_selection(selection: Selection) -> Selection:
    """Return the selection of exactly the plugins that a selection's lock names.

    Raises:
        EsperError: E170 if they are not what is installed, after the differences are shown on stderr; E171, E172, E505
            if the lock cannot be read; E106 if a plugin file cannot.
    """
    assert selection.lock is not None
    lock = read_lock(selection.lock)
    bound, found = keep_to(lock, selection)
    if found:
        echo(difference_table(found, "locked", "installed"), err=True)
        missing = {it.plugin for it in found if it.differs is Differs.MISSING and it.distribution is None}
        files = [f"--plugin-path {it.file}" for it in lock.plugins if it.file and it.plugin in missing]
        by_hand = f"name its file, if you trust it: {' '.join(files)} (a lock loads none); or " if files else ""
        raise EsperError(
            "E170",
            f'the plugins are not those of "{selection.lock}"',
            why=f"{len(found)} {'differs' if len(found) == 1 else 'differ'}, see above",
            fix=f"{by_hand}install what the lock says, write a new lock (esper plugins lock), or run without it",
        )
    return bound


def requirements(present: PluginLock) -> str:
    """Return requirement lines as pip reads them; a one-file plugin is a comment, for pip cannot install it."""
    pinned = {it.distribution: f"{it.distribution}=={it.version}" for it in (present.core, *present.plugins)}
    files = [f"# {Path(it.file).name} is a file, given with --plugin-path" for it in present.plugins if it.file]
    return "\n".join([line for name, line in pinned.items() if name] + files) + "\n"


def difference_table(found: Sequence[Difference], first: str, second: str) -> str:
    """Return differences as a table with the names of both sides; digests are shortened."""
    rows = [
        (it.differs.value, it.plugin, it.distribution or "(file)", _short(it.first), _short(it.second)) for it in found
    ]
    return table(("DIFFERS", "PLUGIN", "DISTRIBUTION", first.upper(), second.upper()), rows)


def _short(text: str | None) -> str:
    return "-" if text is None else text[:12]


def _present(options: PluginOptions) -> PluginLock:
    plugins = load_plugins(select(options, os.environ))
    warn_of_problems(plugins.records)
    return current_lock(plugins)


def _write(path: Path, text: str, replace: Callable[[Path], bool]) -> None:
    """Write a file; only an older lock is replaced."""
    if path.exists() and not replace(path):
        fix = "remove it, or write another file"
        raise EsperError("E173", f'"{path}" exists, and is not a lock that could be replaced', fix=fix)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise EsperError("E173", f'the lock "{path}" cannot be written', why=error.strerror or str(error)) from error


def _is_lock(path: Path) -> bool:
    try:
        return f'"kind": "{LOCK}"' in read_regular(path).decode()
    except (OSError, ValueError):
        return False
