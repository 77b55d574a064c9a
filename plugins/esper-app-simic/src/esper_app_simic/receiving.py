"""Taking policy updates from a bus into the store of policies."""

import os
from hashlib import sha256
from pathlib import Path
from platform import node
from uuid import uuid4

from esper_app.api import PluginOptions, load_selected
from esper_app_simic.fitting import fits
from esper_core.api import EsperError, ExitCode
from esper_leyline_proto.learning import PolicyUpdate
from esper_messaging.reading import Reader
from esper_oona.api import Draft, Publisher, Replays, Signer, keyring, open_shared_bus, state_directory
from esper_runs.printing import echo
from esper_simic.api import PolicyStore, RefusedPolicyError, UpdateIntake

#: Who takes policies in.
NAME = "tamiyo"


def receive_all(url: str, plugin_options: PluginOptions, *, promote: bool) -> int:
    """Take in what is on a bus, say what became of each, and return the exit code: 1 if something was refused.

    Args:
        url: the address of the bus.
        plugin_options: which plugins are to be able to use the policies.
        promote: make what passes the champion.

    Raises:
        EsperError: E611 if the bus does not answer, E635 if the store cannot be used; what it was to hold stays on the
            bus then, and comes again.
    """
    plugins, state = load_selected(plugin_options), state_directory()
    keys = keyring(state)
    bus, signer, store = open_shared_bus(url, plugins.registry), Signer(keys), PolicyStore(state, keys)
    replays = Replays(state / "replays.sqlite")
    drafts: list[Draft] = []
    refused: list[RefusedPolicyError] = []
    unusable: list[EsperError] = []
    told: set[str] = set()
    intake = UpdateIntake(store, fits(plugins), drafts.append, promote=promote)

    def take(update: PolicyUpdate, envelope: object) -> None:
        try:
            error = intake.take(update)
        except EsperError as failure:
            unusable.append(failure)
            raise
        if error is not None:
            refused.append(error)
            echo(error, err=True)
        elif update.version not in told and any(it.version == update.version for it in store.versions()):
            told.add(update.version)  # once, however many parts it has
            echo(f"{'champion' if store.champion() == update.version else 'added'}: {update.version}")

    consumer = f"{NAME}-{os.getpid()}-{uuid4().hex[:8]}"
    reader = Reader(bus, group_of(state), consumer, {PolicyUpdate: take}, signer=signer, replays=replays)
    try:
        while reader.poll() and not unusable:
            pass
        Publisher(bus, signer, name=NAME).publish(drafts)
        if unusable:
            raise unusable[0]
        for reason, count in reader.refused.items():
            echo(f"{count} messages were refused: {reason}; see: esper bus dead {url}", err=True)
    finally:
        replays.close()
        store.close()
        bus.close()
    return ExitCode.FAILED if refused or reader.refused else ExitCode.OK


def group_of(state: Path) -> str:
    """Return the group of consumers that share the policies of a bus: those of one state directory."""
    place = f"{node()}:{state.resolve()}"
    return f"{NAME}-{sha256(place.encode()).hexdigest()[:12]}"
