"""``esper nissa``: everything on a bus as metrics and alerts, and into sinks."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from esper_app.api import PluginOptions, plugin_options


def _options(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the options of sinks that texts such as ``elasticsearch.url="http://..."`` stand for, by sink."""
    import tomllib

    found: dict[str, dict[str, Any]] = {}
    for value in values:
        key, equals, text = value.partition("=")
        sink, dot, option = key.rpartition(".")
        if not (equals and dot and sink and option.isidentifier()):
            raise click.BadParameter(f"{value!r} must be SINK.OPTION=VALUE, such as elasticsearch.index=esper")
        try:
            found.setdefault(sink, {})[option] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found.setdefault(sink, {})[option] = text
    return found


@click.command(short_help="All that a bus carries as metrics and alerts, and into sinks.")
@click.option("--bus", "url", required=True, metavar="URL", help="The bus, such as sqlite: or redis://localhost.")
@click.option("--http", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT", help="Where it answers.")
@click.option("--sink", "sinks", multiple=True, metavar="NAME", help="A telemetry sink that is fed. Repeatable.")
@click.option("--set", "options", multiple=True, metavar="SINK.OPTION=VALUE", callback=_options, help="Of a sink.")
@click.option("--interval", type=float, default=10.0, show_default=True, help="Seconds between looks at alerts.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="What it keeps.  [default: nissa in the state directory]"
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The state directory, with the keys and the default bus.  [default: ESPER_STATE, or .esper]",
)
@plugin_options
def nissa(
    url: str,
    http: str,
    sinks: tuple[str, ...],
    options: dict[str, dict[str, Any]],
    interval: float,
    folder: Path | None,
    state: Path | None,
    plugin_options: PluginOptions,
) -> None:
    """Read all that a bus carries, until Ctrl-C or SIGTERM, and then what is on it by then.

    It answers under /metrics (all runs, for Prometheus), /alerts (alerts and error budgets of each run) and /health.
    """
    # Imported here: `--help` needs none of it.
    import signal
    import threading

    from esper_app.api import load_selected
    from esper_core.api import EsperError
    from esper_oona.api import open_shared_bus, state_directory
    from esper_runs.printing import echo
    from esper_service_nissa.config import NissaConfig
    from esper_service_nissa.running import run_nissa

    host, colon, port = http.rpartition(":")
    if not colon or not port.isdecimal():
        raise EsperError("E202", f'"{http}" is not HOST:PORT', where="--http", fix="--http 127.0.0.1:9100")
    if stray := [it for it in options if it not in sinks]:
        raise EsperError("E202", f'"{stray[0]}" is not fed', where="--set", fix=f"--sink {stray[0]}")
    where = state_directory(state).absolute()
    os.environ["ESPER_STATE"] = str(where)
    try:
        config = NissaConfig(
            address=host.strip("[]"), port=int(port), sinks={it: options.get(it, {}) for it in sinks}, interval=interval
        )
    except ValueError as error:
        raise EsperError("E202", "an option is not valid", why=str(error.args[0])) from error
    plugins = load_selected(plugin_options)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    bus = open_shared_bus(url, plugins.registry)
    try:
        figures = run_nissa(bus, config, plugins, where, folder or where / "nissa", stop)
    finally:
        bus.close()
    echo(", ".join(f"{name}: {value:g}" for name, value in figures.items()))
