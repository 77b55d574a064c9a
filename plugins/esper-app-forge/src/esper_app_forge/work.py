"""``esper forge work``: answer requests for artifacts on a bus."""

import os
import signal
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from esper_app.api import PluginOptions, plugin_options
from esper_app_forge.options import store_option, timeout_option

if TYPE_CHECKING:
    from esper_modules.api import Answered
    from esper_tezzeret.api import Outcome


@click.command(short_help="Answer requests for artifacts on a bus.")
@click.option(
    "--bus",
    "bus_url",
    required=True,
    metavar="URL",
    help="The bus of the runs: sqlite:PATH, redis://HOST, or what other plugins offer.",
)
@store_option
@timeout_option
@plugin_options
def work(bus_url: str, url: str, timeout: float, plugin_options: PluginOptions) -> None:
    """Answer what runs with a bus ask for, from the store, and compile what it lacks; until Ctrl-C.

    What was saved and what failed is said on that bus. Several may work side by side. One that was killed goes on when
    it is started again.
    """
    from esper_app.api import load_selected
    from esper_app_forge.compile_process import COMMAND
    from esper_app_forge.publishing import speaking
    from esper_modules.api import LEASE_SECONDS, PrefetchWorker
    from esper_oona.api import Signer, keyring, open_shared_bus, state_directory
    from esper_runs.printing import echo
    from esper_tezzeret.api import Forge, ForgeQueue, Outcome, Workshop
    from esper_urza.api import open_store

    plugins = load_selected(plugin_options)
    state = state_directory()
    signer = Signer(keyring(Path(state)))
    name = f"forge-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    store = open_store(url, plugins.registry)
    bus = open_shared_bus(bus_url, plugins.registry)
    queue = ForgeQueue(state, name, lease_seconds=LEASE_SECONDS)
    workshop = Workshop(command=COMMAND, plugins=plugin_options.as_data(), timeout=timeout)
    stop = threading.Event()
    try:
        with speaking(bus_url, plugins) as (saved, attempted):

            def tell(it: "Answered | Outcome") -> None:
                echo(_line(it))
                if isinstance(it, Outcome):
                    attempted(it)

            forge = Forge(queue, store, plugins.registry, workshop, saved=saved)
            worker = PrefetchWorker(bus, forge, queue, state, signer, name=name, tell=tell)
            for wanted in (signal.SIGINT, signal.SIGTERM):
                signal.signal(wanted, lambda *_: _end(stop))
            echo(f"{name} answers on {bus_url.partition(':')[0]}")
            worker.run(stop)
    finally:
        queue.close()
        bus.close()
        store.store.close()


def _end(stop: threading.Event) -> None:
    """Ask for an end after what is being done; who asks again does not wait for it."""
    if stop.is_set():
        raise KeyboardInterrupt
    stop.set()


def _line(it: "Answered | Outcome") -> str:
    from esper_app_forge.command import outcome_line
    from esper_tezzeret.api import Outcome

    if isinstance(it, Outcome):
        return outcome_line(it)
    said = f"ready: artifact {it.artifact[:12]}" if it.artifact else f"refused: {it.reason}"
    return f"{it.request.request_id[:12]}  {it.request.blueprint} for {it.request.run}  {said}"
