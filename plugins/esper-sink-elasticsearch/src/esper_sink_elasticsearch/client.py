"""The official client of Elasticsearch; what the sink uses of it comes from here.

What it imports draws from Python's global generator of random numbers. That belongs to the run, so it is put back.
"""

import logging
import random

_before = random.getstate()
from elastic_transport import TransportError  # noqa: E402
from elasticsearch import ApiError, Elasticsearch  # noqa: E402

random.setstate(_before)

# Without a handler of its own, Python would write what the client logs where the run is shown.
logging.getLogger("elastic_transport").addHandler(logging.NullHandler())

__all__ = ["ApiError", "Elasticsearch", "TransportError", "connect"]


def connect(url: str, key: str | None, timeout: float) -> Elasticsearch:
    """Return a client that does not retry by itself.

    Raises:
        ValueError: if it is no address.
    """
    return Elasticsearch(url, api_key=key, request_timeout=timeout, max_retries=0)
