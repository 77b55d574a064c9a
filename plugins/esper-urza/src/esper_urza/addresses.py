"""Addresses of stores: `local:PATH`, and whatever the installed plugins offer."""

from pathlib import Path

from esper_core.plugins.registry import Registry
from esper_oona.addresses import open_component
from esper_oona.keys import Keyring, keyring, present_keys
from esper_oona.state import state_directory, state_path
from esper_urza.kinds import StoreSpec
from esper_urza.signed_store import SignedStore
from esper_urza.store import Store

#: The environment's word for the store that runs and the forge use.
STORE_VARIABLE = "ESPER_STORE"


def open_store(address: str, registry: Registry, state: Path | None = None) -> SignedStore:
    """Open the store at an address, such as ``local:.esper/store?max_bytes=1000000000``, with the keys of this user.

    Args:
        address: the scheme finds the plugin; what follows ``?`` are options of the store.
        registry: the loaded plugins (`esper_app.api.load_plugins().registry`).
        state: the state directory, where the keys are. It is made, and a key in it, when something is saved for the
            first time; looking makes nothing.

    Raises:
        EsperError: E204 if no installed plugin has such an address, E201 or E202 if an option does not fit, E612 if the
            keys cannot be used, E621 if the store does not answer.
    """
    store: Store = open_component(address, registry, StoreSpec, hint="pip install esper-store-local")

    def keys(make: bool) -> Keyring:
        return keyring(state_directory(state)) if make else present_keys(state_path(state))

    return SignedStore(store, keys(False), find_keys=keys)
