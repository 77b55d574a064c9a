"""``esper up``, ``esper down`` and ``esper status``: services on this machine."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from esper_runs.terminal import Terminal

#: What stands in the environment of those that `--detach` has started.
_DETACHED = "ESPER_UP_DETACHED"

state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The state directory, with all that services keep.  [default: ESPER_STATE, or .esper]",
)
config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file that names the services. Without one: the forge and Nissa, as far as they are installed.",
)


@click.command(short_help="Keep services and runs going on this machine.")
@config_option
@click.option("--bus", metavar="URL", help="The bus, in place of the file's; redis: or nats: is a server of its own.")
@click.option("--run", "tasks", multiple=True, metavar="TASK", help="Also do a run on this task. Repeatable.")
@click.option(
    "--http", metavar="HOST:PORT", help="Where it answers over HTTP, in place of the file's address and port."
)
@click.option("--until-done", is_flag=True, help="End when all runs are over.")
@click.option("--detach", "-d", is_flag=True, help="Go on in the background; `esper down` ends it.")
@state_option
@click.pass_context
def up(
    context: click.Context,
    file: Path | None,
    bus: str | None,
    tasks: tuple[str, ...],
    http: str | None,
    until_done: bool,
    detach: bool,
    state: Path | None,
) -> None:
    """Start services in the order in which they need each other, and keep them running, until Ctrl-C or SIGTERM.

    What ends is started again, after a pause that grows; a run goes on from its newest checkpoint. At the end all are
    asked to stop, and killed where the time that they have for it is not enough. Exit code 1 if a service has failed.
    """
    from esper_app_up.machine import machine_data, refuse_idle
    from esper_oona.api import state_directory

    where = state_directory(state).absolute()
    os.environ["ESPER_STATE"] = str(where)
    if detach:
        words = ["up", "--state", str(where), *_option("--config", file and file.absolute()), *_option("--bus", bus)]
        words += [*_option("--http", http), *(part for it in tasks for part in ("--run", it))]
        _detach(where, words + ["--until-done"] * until_done)
        return
    # Imported here: `--help` needs none of it.
    from esper_app.api import PluginOptions, load_selected
    from esper_runs.printing import echo
    from esper_weatherlight.api import read_machine, supervise

    plugins = load_selected(PluginOptions())
    data = machine_data(file, plugins, bus=bus, tasks=tasks, http=http)
    machine = read_machine(data, plugins.registry, source=None if file is None else str(file))
    refuse_idle(machine, file, until_done=until_done)
    left = supervise(machine, plugins.registry, where, show=echo, until_done=until_done)
    context.exit(1 if left["health"] == "critical" else 0)


@click.command(short_help="End all services.")
@state_option
def down(state: Path | None) -> None:
    """Ask all services to end, and wait until they have; what a dead supervisor has left running is killed."""
    from esper_oona.api import state_path
    from esper_runs.printing import echo
    from esper_weatherlight.api import stop_supervisor

    echo(stop_supervisor(state_path(state).absolute()))


@click.command(short_help="Show how the services are.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: what the supervisor answers under /status.")
@state_option
@click.pass_context
def status(context: click.Context, as_json: bool, state: Path | None) -> None:
    """Show how the services are, and the newest emergencies. Exit code 1 if one has failed, or none is supervised."""
    from esper_oona.api import state_path
    from esper_runs.printing import echo, echo_json
    from esper_runs.terminal import Terminal
    from esper_weatherlight.api import NOTHING, left_running, supervisor_status

    where = state_path(state).absolute()
    found = supervisor_status(where)
    if as_json:
        echo_json(found if found is not None else {"mode": "down", "services": []})
    elif found is None and (left := left_running(where)):
        echo(f"the supervisor has died, and {left} processes that it had started go on alone: esper up, or esper down")
    elif found is None:
        echo(NOTHING)
    else:
        terminal = Terminal(sys.stdout)
        terminal.print(*status_page(found, terminal))
    context.exit(0 if found is not None and found["health"] != "critical" else 1)


def status_page(found: Mapping[str, Any], terminal: "Terminal") -> "Iterator[RenderableType]":
    """Yield what `Supervisor.status` says, drawn for a terminal. Raises EsperError E642 if it is no such thing."""
    from esper_weatherlight.api import machine_view

    view = machine_view(found)
    yield terminal.paragraph(view.headline)
    if view.services.rows:
        yield terminal.table(view.services)
    first, *signals = view.emergencies or ("",)
    if first:
        yield terminal.paragraph(first)
    for it in signals:
        yield terminal.paragraph(it, lead="  ")


def _option(name: str, value: Any) -> list[str]:
    return [] if value is None else [name, str(value)]


def _detach(state: Path, words: Sequence[str]) -> None:
    """Start a command in a session of its own, and wait until it is up."""
    import subprocess
    import tempfile
    from threading import Event

    from esper_runs.printing import echo
    from esper_weatherlight.api import esper_command, find_supervisor

    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            esper_command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )

        def url() -> str:
            found = find_supervisor(state)
            return found.url if found is not None and found.pid == process.pid else ""

        while process.poll() is None and not url():
            Event().wait(0.05)
        if (code := process.poll()) not in (None, 0):
            said.seek(0)
            echo(said.read().decode(errors="replace").rstrip(), err=True)
            raise SystemExit(code)
    echo(f"up: {url() or 'and over already'}; see: esper status, esper services log; end it with: esper down")
