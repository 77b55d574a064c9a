"""``esper dashboard``: runs in the browser."""

from pathlib import Path

import click


@click.command(short_help="Show runs in the browser, live and finished.")
@click.argument("runs", metavar="[RUN]...", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "--runs",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help="The directory that holds the runs.  [default: runs]",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help="The state directory whose services are shown.  [default: ESPER_STATE, or .esper]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address to listen on. One that others can reach, such as 0.0.0.0, asks for a token.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="The port; 0: any that is free."
)
@click.option("--token", "ask", is_flag=True, help="Ask for a token on this machine too, which others may share.")
@click.option("--open", "browse", is_flag=True, help="Open a browser.")
def dashboard(
    runs: tuple[Path, ...],
    directory: Path | None,
    state: Path | None,
    host: str,
    port: int,
    ask: bool,
    browse: bool,
) -> None:
    """Show runs in the browser, while they go on and afterwards, and the services that `esper up` keeps running.

    RUN is a run's directory, or its name under runs/; `last` is the newest one. Without one, all runs under runs/ are
    offered. Nothing is changed, and nothing leaves the machine unless --host says so.
    """
    # Imported here: `--help` needs none of it.
    import secrets
    import threading
    import webbrowser

    from esper_app_dashboard.app import Dashboard
    from esper_app_dashboard.board import Board
    from esper_app_dashboard.guard import Access, is_loopback
    from esper_app_dashboard.services import Services, state_of_services
    from esper_app_dashboard.serving import listen, serve
    from esper_runs.printing import echo
    from esper_runs.run_directory import RUNS
    from esper_runs.run_list import locate_run

    where = directory or Path(RUNS)
    board = Board(where, [locate_run(run, where) for run in runs])
    services = Services(state_of_services(state), asked=state is not None)
    listening = listen(host, port)
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(32) if ask or not is_loopback(host) else None
    address = _address(host, port) + (f"?token={token}" if token else "")

    def ready(_: object) -> None:
        echo(f"dashboard: {address} (end it with Ctrl-C)")
        if browse:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve(Dashboard(board, Access(host=host, port=port, token=token), services=services), listening, ready)


def _address(host: str, port: int) -> str:
    """Where a browser on this machine finds it; what listens everywhere is reached by the machine's name."""
    import socket

    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"
