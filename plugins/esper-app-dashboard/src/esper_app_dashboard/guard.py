"""Who may see the dashboard: every request passes here, and every answer leaves with the same headers."""

import ipaddress
import secrets
import socket
from urllib.parse import parse_qs

from attrs import field, frozen
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What a page may load: its own scripts, styles and answers. No markup is ever made of a text (trusted types).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@frozen(kw_only=True)
class Access:
    """Who may see the dashboard.

    Attributes:
        host: the address or name that it listens on.
        port: its port.
        token: what a browser must show once; None: nothing.
        session: what a browser that has shown it gets as a cookie.
        names: of this machine, by which others reach it.
    """

    host: str
    port: int
    token: str | None = None
    session: str = field(factory=lambda: secrets.token_urlsafe(32))

    names: frozenset[str] = field(factory=lambda: frozenset(_machine_names()))

    @property
    def cookie(self) -> str:
        """The cookie's name. Browsers share cookies among the ports of a machine."""
        return f"esper-dashboard-{self.port}"

    def knows_host(self, header: str) -> bool:
        """Say whether a Host header is of this server.

        A page of somebody else whose name was made to lead here (DNS rebinding) sends its own name. Addresses are safe:
        a browser sends one only if its user has gone to it.
        """
        name = _name(header)
        if name in ("localhost", self.host.lower()):
            return True
        address = _address(name)
        if is_loopback(self.host):
            return address is not None and address.is_loopback
        return address is not None or name in self.names


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine alone; of names only ``localhost``."""
    address = _address(host)
    return address.is_loopback if address is not None else host.lower() == "localhost"


def _machine_names() -> tuple[str, str]:
    name = socket.gethostname().lower()
    return name, name.partition(".")[0]


class Guard:
    """Answers what is not allowed, and passes on everything else.

    Args:
        app: what answers.
        access: who may see it.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer: ASGIApp = self._refusal(scope) or self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.knows_host(hosts[0]):
            return PlainTextResponse("Not the name of this server. Use its address in numbers.\n", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("There is nothing here but to read.\n", 405, headers={"allow": "GET, HEAD"})
        # Browsers say where a request comes from. Following a link is fine, embedding is not.
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("This is not for other sites.\n", 403)
        return self._identification(scope, headers)

    def _identification(self, scope: Scope, headers: Headers) -> Response | None:
        token = self._access.token
        if token is None:
            return None
        if _same(cookie_parser(headers.get("cookie", "")).get(self._access.cookie, ""), self._access.session):
            return None
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(shown, token):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        if scope["path"] == "/" and _same(given[0], token):
            # Without the token in the address, so that it is in no history and no picture of the screen.
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._access.cookie, self._access.session, httponly=True, samesite="strict", path="/")
            return answer
        words = "Open the address that `esper dashboard` has printed: it has the token.\n"
        return PlainTextResponse(words, 401, headers={"www-authenticate": "Bearer"})


def _same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _name(header: str) -> str:
    """Return the host in a Host header, without its port."""
    header = header.strip().lower()
    if header.startswith("["):
        name, closed, port = header[1:].partition("]")
        return name if closed and (not port or port.startswith(":")) else ""
    return header.partition(":")[0]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
