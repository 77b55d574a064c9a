"""Whether the hub can be reached at all: without a network its client would try again for half a minute."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

#: Seconds to wait for an answer.
_PATIENCE = 5.0


@contextmanager
def offline_unless_reachable(datasets: Any) -> Iterator[None]:
    """Let `datasets` look into its cache only, where no connection to the hub can be made.

    With a proxy the connection is the proxy's business, and nothing is changed.
    """
    from huggingface_hub import constants

    if getproxies() or _reachable(constants.ENDPOINT):
        yield
        return
    switches = (constants, datasets.config)
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
