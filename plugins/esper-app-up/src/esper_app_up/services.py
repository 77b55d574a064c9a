"""``esper services``: the file, the log, starting again, and files for systemd and for containers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from esper_app_up.command import config_option, state_option

_output = click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file, which is replaced. Without it, the content is printed.",
)

_NO_LOG = "nothing has been logged; begin with: esper up"


@click.group(short_help="Files for services, their log, and starting one again.")
def services() -> None:
    """Write files that name services or run them, look at their log, and start one again."""


@services.command(short_help="A file that names the usual services.")
@_output
def init(output: Path | None) -> None:
    """Write a file for `esper up --config` with every setting that is not about one service."""
    from importlib.resources import files

    _write((files("esper_app_up") / "machine.toml").read_text(encoding="utf-8"), output)


@services.command(short_help="Show what services have said.")
@click.argument("service", required=False)
@click.option("-n", "count", type=click.IntRange(min=1), default=50, show_default=True, help="How many lines.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line each.")
@state_option
def log(service: str | None, count: int, as_json: bool, state: Path | None) -> None:
    """Show the newest lines that SERVICE has printed, and what became of it; of all services without it."""
    from esper_core.api import did_you_mean, to_json
    from esper_oona.api import state_path
    from esper_runs.printing import echo
    from esper_weatherlight.api import last_log_lines, logged_services

    where = state_path(state).absolute()
    found = last_log_lines(where, count, service)
    for entry in found:
        echo(to_json(entry) if as_json else _line(entry))
    if not (found or as_json):
        known = logged_services(where)
        echo(f'the log has nothing of "{service}"; {did_you_mean(str(service), known)}' if known else _NO_LOG)


def _line(entry: Mapping[str, Any]) -> str:
    mark = "|" if entry.get("kind") == "output" else "*"
    return f"{str(entry.get('time'))[:19]} {entry.get('service')} {mark} {entry.get('text')}"


@services.command(short_help="Start a service again that has failed.")
@click.argument("service")
@state_option
def again(service: str, state: Path | None) -> None:
    """Start SERVICE again with a full budget of restarts, and what is paused because of it."""
    from esper_oona.api import state_path
    from esper_runs.printing import echo
    from esper_weatherlight.api import ask_again

    ask_again(state_path(state).absolute(), service)
    echo(f"{service} is started again; see: esper status")


@services.command(short_help="A unit for systemd.")
@config_option
@state_option
@_output
def unit(file: Path | None, state: Path | None, output: Path | None) -> None:
    """Write a unit for systemd that runs `esper up` for the present user in the present directory.

    Its place is ~/.config/systemd/user/esper.service (then: systemctl --user enable --now esper).
    """
    from esper_weatherlight.api import unit_file

    _write(unit_file(_words(file, state), Path.cwd(), _seconds(file)), output)


@services.command(short_help="A file for docker-compose.")
@config_option
@click.option("--image", required=True, help="An image in which Esper is installed.")
@click.option("--port", type=click.IntRange(1, 65535), default=8790, show_default=True, help="Where /status answers.")
@_output
def compose(file: Path | None, image: str, port: int, output: Path | None) -> None:
    """Write a compose file that runs `esper up` in a container, and keeps state and runs in volumes."""
    from esper_weatherlight.api import compose_file

    _write(compose_file(image, None if file is None else file.absolute(), port, _seconds(file)), output)


def _words(file: Path | None, state: Path | None) -> list[str]:
    from esper_oona.api import state_directory

    words = ["up", "--state", str(state_directory(state).absolute())]
    return words + ([] if file is None else ["--config", str(file.absolute())])


def _seconds(file: Path | None) -> float:
    """How long the services have to end."""
    from esper_app.api import PluginOptions, load_selected
    from esper_app_up.machine import machine_data
    from esper_weatherlight.api import read_machine

    plugins = load_selected(PluginOptions())
    data = machine_data(file, plugins)
    return read_machine(data, plugins.registry, source=None if file is None else str(file)).settings.drain_seconds


def _write(content: str, output: Path | None) -> None:
    from esper_core.api import EsperError
    from esper_runs.printing import echo
    from esper_runs.run_directory import write_atomically

    if output is None:
        echo(content, nl=False)
        return
    try:
        write_atomically(output, content.encode())
    except OSError as error:
        why, fix = error.strerror or str(error), "give another path with --output"
        raise EsperError("E513", f'"{output}" cannot be written', why=why, fix=fix) from error
    echo(f"wrote {output}")
