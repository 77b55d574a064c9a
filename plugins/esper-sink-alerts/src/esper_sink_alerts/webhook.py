"""Posts JSON to one address: in bounded time, a bounded number of times, and nowhere else."""

import socket
import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from esper_core.api import EsperError

#: Answers after which another attempt may succeed, besides errors of the server.
_AGAIN = (408, 425, 429)

#: As much of an answer is read.
_MOST_READ = 4096

#: Seconds before the second attempt; twice as long before each further one, up to the last.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0


class RefusedError(OSError):
    """The other side said that it does not want this; another attempt would not help."""


class Webhook:
    """One address.

    Args:
        url: an http or https address.
        token: is sent as a bearer token; None: nothing is.
        timeout: seconds that one post may take, however slowly the other side answers.
        attempts: how often a post is tried at most.

    Attributes:
        where: the address without its path, which may be a secret.

    Raises:
        EsperError: E504 if it is no such address, or holds a password.
    """

    def __init__(self, url: str, token: str | None, timeout: float, attempts: int) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _unusable(str(error)) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _unusable("it is no http or https address")
        if parts.username is not None or parts.password is not None:
            raise _unusable("it holds a password: put a token into ESPER_ALERTS_TOKEN")
        if any(not "!" <= letter <= "~" for letter in url + (token or "")):
            raise _unusable("the address or the token holds characters that no address has")
        self.where = f"{parts.scheme}://{parts.netloc}"
        self._connect: Callable[[], HTTPConnection] = lambda: (
            HTTPSConnection(parts.hostname or "", port, timeout=timeout)
            if parts.scheme == "https"
            else HTTPConnection(parts.hostname or "", port, timeout=timeout)
        )
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Content-Type": "application/json", "User-Agent": "esper"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout
        self._attempts = attempts

    def post(self, content: bytes, stop: threading.Event) -> None:
        """Post once, and again where that may help.

        Args:
            content: JSON.
            stop: no further attempt is made once it is set.

        Raises:
            OSError: the last attempt failed, or another would not help.
        """
        wait = _FIRST_WAIT
        for attempt in range(1, self._attempts + 1):
            try:
                return self._once(content)
            except RefusedError:
                raise
            except (OSError, HTTPException) as error:
                why = str(error) or type(error).__name__
                if attempt == self._attempts or stop.wait(wait):
                    raise OSError(f"{why} (attempt {attempt} of {self._attempts})") from error
                wait = min(2 * wait, _LONGEST_WAIT)
        return None

    def _once(self, content: bytes) -> None:
        connection = self._connect()
        try:
            connection.connect()
            # Each read has a timeout of its own; this one is for all of them together.
            expired = threading.Event()
            overdue = threading.Timer(self._timeout, _shut, [connection.sock, expired])
            overdue.daemon = True
            overdue.start()
            try:
                connection.request("POST", self._target, content, self._headers)
                answer = connection.getresponse()
                answer.read(_MOST_READ)
            finally:
                overdue.cancel()
            if expired.is_set():
                raise TimeoutError("timed out")
            _judge(answer.status)
        finally:
            connection.close()


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise RefusedError(f"it answers {status}, and redirects are not followed")
    if status < 500 and status not in _AGAIN:
        raise RefusedError(f"it answers {status}")
    raise OSError(f"it answers {status}")


def _shut(sock: socket.socket, expired: threading.Event) -> None:
    expired.set()
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # it is closed already
        return


def _unusable(why: str) -> EsperError:
    what = 'the webhook of the sink "alerts" cannot be used'
    fix = "set sinks.alerts.webhook, or ESPER_ALERTS_WEBHOOK in the environment, to an http or https address"
    return EsperError("E504", what, why=why, fix=fix)
