"""Loading from the hub, if it can be reached at all: without a network its client would try for half a minute."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from esper_core.api import EsperError

#: Seconds to wait for an answer.
_PATIENCE = 5.0


def load_splits(name: str, splits: Sequence[str]) -> dict[str, Any]:
    """Return splits of a data set from the hub, or from the cache of an earlier download.

    Args:
        name: of the data set on the hub.
        splits: names of splits, as the hub has them.

    Raises:
        EsperError: E301 if they cannot be loaded.
    """
    import datasets  # type: ignore[import-untyped]

    try:
        with _offline_unless_reachable(datasets):
            return {split: datasets.load_dataset(name, split=split) for split in splits}
    # The exception of a failed download depends on a chain of libraries and their versions.
    except Exception as error:
        why = f"the download from the hub failed: {str(error).partition(chr(10))[0] or type(error).__name__}"
        fix = "connect to a network, or load the data once where there is one"
        raise EsperError(
            "E301", f'"{name}" cannot be loaded', where="the Hugging Face hub", why=why, fix=fix
        ) from error


@contextmanager
def _offline_unless_reachable(datasets: Any) -> Iterator[None]:
    """Let `datasets` look into its cache only, where no connection to the hub can be made.

    With a proxy the connection is the proxy's business, and nothing is changed.
    """
    from huggingface_hub import constants

    if getproxies() or _reachable(constants.ENDPOINT):
        yield
        return
    switches: tuple[Any, ...] = (constants, datasets.config)
    before = [module.HF_HUB_OFFLINE for module in switches]
    try:
        for module in switches:
            module.HF_HUB_OFFLINE = True
        yield
    finally:
        for module, value in zip(switches, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _reachable(address: str) -> bool:
    parts = urlsplit(address)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True
