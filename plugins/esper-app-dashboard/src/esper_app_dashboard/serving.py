"""The server: an address of its own, and an end within a second."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from uvicorn import Config, Server

from esper_app_dashboard.app import Dashboard
from esper_core.api import EsperError

#: A connection whose other end takes nothing for so long is closed by the system, in milliseconds.
_PATIENCE = 30_000

#: A stream ends at once. What else may be going on when the server ends gets this long, in seconds.
_GRACE = 0.25


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; port 0: on any port that is free.

    Raises:
        EsperError: E202 if that is not possible.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise EsperError("E202", f'"{host}" is no address here', where="--host", why=str(error)) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PATIENCE)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise _refused(host, port, error) from error
    return listening


def _refused(host: str, port: int, error: OSError) -> EsperError:
    why = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        fix = f"choose another: --port {port + 1 if port < 65535 else port - 1}; or any that is free: --port 0"
        return EsperError("E202", f"port {port} is in use", where="--port", why=why, fix=fix)
    if error.errno in (errno.EACCES, errno.EPERM):
        fix = "choose one above 1023, or any that is free: --port 0"
        return EsperError("E202", f"port {port} may not be used", where="--port", why=why, fix=fix)
    fix = "choose an address of this machine; 0.0.0.0 is all of them"
    return EsperError("E202", f'"{host}" cannot be listened on', where="--host", why=why, fix=fix)


def serve(dashboard: Dashboard, listening: socket.socket, ready: Callable[[Callable[[], None]], None]) -> None:
    """Serve until the process is told to end, by SIGINT or SIGTERM.

    Args:
        dashboard: what answers.
        listening: where; see `listen`.
        ready: called when pages can be fetched, with a function that ends the server from any thread.
    """
    config = Config(
        dashboard.app,
        http="h11",
        ws="none",
        lifespan="on",
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    asyncio.run(_Ending(config, dashboard, ready).serve(sockets=[listening]))


class _Ending(Server):
    """A server that ends its streams when it is told to end, and then the program normally."""

    def __init__(self, config: Config, dashboard: Dashboard, ready: Callable[[Callable[[], None]], None]) -> None:
        super().__init__(config)
        self._dashboard = dashboard
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            loop = asyncio.get_running_loop()

            def end() -> None:
                loop.call_soon_threadsafe(self.end)

            self._ready(end)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Not in the main thread, as in tests, or not on this system: then somebody else ends the server.
            with suppress(NotImplementedError, ValueError, RuntimeError):
                loop.add_signal_handler(number, self.end)
        yield

    def end(self) -> None:
        """Stop serving."""
        self.should_exit = True
        self._dashboard.streams.close()
        # Whatever is not over by then: a page that is being sent to a browser that takes nothing.
        asyncio.get_running_loop().call_later(_GRACE, self._no_more_waiting)

    def _no_more_waiting(self) -> None:
        self.force_exit = True
        for connection in [*self.server_state.connections]:
            if (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()
