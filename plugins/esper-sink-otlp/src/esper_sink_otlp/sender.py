"""Send protocol buffers to a collector over HTTP.

OpenTelemetry's own exporter draws the waits between its tries from Python's global generator of random numbers with
every request: a run with it would not be the one that it is without it. Its settings in the environment hold here too.
"""

import gzip
import os
import random
import ssl
import time
from email.message import Message
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from attrs import define, field
from opentelemetry.util.re import parse_env_headers

#: A collector that is busy, or a proxy whose collector is away: what these refuse is sent again.
BUSY = frozenset({429, 502, 503, 504})

#: Seconds until the second try; each wait is twice as long as the one before.
_FIRST = 0.1

_PREFIX = "OTEL_EXPORTER_OTLP"


@define
class Sender:
    """Sends one kind of signal.

    Attributes:
        url: where to.
        signal: ``TRACES`` or ``METRICS``, as OpenTelemetry's variables name it.
        timeout: seconds for which it is tried.
    """

    url: str
    signal: str
    timeout: float
    _random: random.Random = field(factory=random.SystemRandom, init=False)

    def send(self, data: bytes) -> None:
        """Send data; a collector that is busy or away is tried again for as long as there is time.

        Raises:
            OSError: if they are not taken.
        """
        end, pause = time.monotonic() + self.timeout, _FIRST
        while True:
            try:
                self._post(data, max(0.05, end - time.monotonic()))
                return
            except HTTPError as error:
                error.close()
                if error.code not in BUSY:
                    raise OSError(f"HTTP {error.code} {error.reason}") from error
                said, least = f"HTTP {error.code} {error.reason}", _retry_after(error.headers)
            except (OSError, HTTPException) as error:
                said, least = f"{type(error).__name__}: {error}", 0.0
            # Not all senders at the same moment.
            wait = max(least, pause * self._random.uniform(0.5, 1.0))
            if time.monotonic() + wait > end:
                raise OSError(said)
            time.sleep(wait)
            pause *= 2

    def _post(self, data: bytes, timeout: float) -> None:
        headers = dict(parse_env_headers(self._setting("HEADERS"), liberal=True))
        headers["content-type"] = "application/x-protobuf"
        if self._setting("COMPRESSION") == "gzip":
            data, headers["content-encoding"] = gzip.compress(data), "gzip"
        request = Request(self.url, data=data, headers=headers, method="POST")
        with urlopen(request, timeout=timeout, context=self._context()) as answer:
            answer.read()

    def _context(self) -> ssl.SSLContext | None:
        if not self.url.startswith("https:"):
            return None
        context = ssl.create_default_context(cafile=self._setting("CERTIFICATE") or None)
        if certificate := self._setting("CLIENT_CERTIFICATE"):
            context.load_cert_chain(certificate, self._setting("CLIENT_KEY") or None)
        return context

    def _setting(self, name: str) -> str:
        return os.environ.get(f"{_PREFIX}_{self.signal}_{name}") or os.environ.get(f"{_PREFIX}_{name}") or ""


def _retry_after(headers: Message) -> float:
    try:
        return max(0.0, float(headers.get("retry-after") or 0))
    except ValueError:  # a date
        return 1.0
