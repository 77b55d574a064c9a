"""The champion, for a run that begins with it. Imports no torch."""

from pathlib import Path

from esper_oona.api import keyring, state_directory
from esper_simic.policy_store import PolicyStore


def champion_card() -> tuple[Path, str]:
    """Return where the champion's card is, and its version; both files are verified.

    Raises:
        EsperError: E636 if there is no champion, E612, E635 if the state directory cannot be used.
        RefusedPolicyError: E637 if it is not signed by us, or not as it was signed.
    """
    state = state_directory()
    store = PolicyStore(state, keyring(state))
    try:
        version = store.require_champion()
        store.read(version)
        return store.card_path(version), version
    finally:
        store.close()
