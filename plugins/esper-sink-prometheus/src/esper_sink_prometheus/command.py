"""``esper prometheus``: files for Prometheus and Grafana."""

from pathlib import Path

import click

_output = click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file, which is replaced. Without it, the content is printed.",
)


@click.group(short_help="Alerts, objectives and a dashboard for Prometheus.")
def prometheus() -> None:
    """Write what Prometheus and Grafana need to watch runs with the sink `prometheus`."""


@prometheus.command(short_help="Recording rules, alerts and objectives.")
@_output
def rules(output: Path | None) -> None:
    """Write recording rules, alerts and service level objectives, for `rule_files` of Prometheus."""
    # Imported here: `--help` needs none of it.
    from esper_sink_prometheus.rules import rules_file

    _write(rules_file(), output)


@prometheus.command(short_help="A dashboard of Grafana.")
@_output
def dashboard(output: Path | None) -> None:
    """Write a dashboard for Grafana, as JSON."""
    from esper_sink_prometheus.dashboard import dashboard_file

    _write(dashboard_file(), output)


@prometheus.command(short_help="A configuration of Alertmanager.")
@click.option("--webhook", required=True, metavar="URL", help="The address that alerts are posted to.")
@_output
def alertmanager(webhook: str, output: Path | None) -> None:
    """Write a configuration for Alertmanager that posts every alert of every run to a webhook, also when it is over.

    The address is written into it, so keep the file to yourself if the address is a secret.
    """
    from esper_sink_prometheus.alertmanager import alertmanager_file

    try:
        content = alertmanager_file(webhook)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--webhook") from error
    _write(content, output)


@prometheus.command(short_help="The tables of alerts and objectives.")
def alerts() -> None:
    """Print every alert, when it fires and what to do about it, and every objective, in Markdown."""
    from esper_alerts.tables import alerts_table, objectives_table
    from esper_runs.printing import echo

    echo(f"{alerts_table()}\n\n{objectives_table()}")


@prometheus.command(short_help="The table of metrics.")
def metrics() -> None:
    """Print every metric with its type, its labels and the events that it comes from, in Markdown."""
    from esper_alerts.catalogue import markdown_table
    from esper_runs.printing import echo

    echo(markdown_table())


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
