"""The webhook: what is posted, and what becomes of it where the other side is at fault. Nobody waits for it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf

import pytest
from attrs import evolve

from esper_alerts.alerts import ALERTS
from esper_alerts.engine import AlertChange, AlertState
from esper_core.api import EsperError
from esper_sink_alerts import webhook as module
from esper_sink_alerts.notification import body, fingerprint, notifications
from esper_sink_alerts.sender import Notification, Sender
from esper_sink_alerts.webhook import RefusedError, Webhook

NEVER = threading.Event()

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers as it is told to, one answer after the other; the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()
        answers_left = [*answers]
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, dict(self.headers), content))
                (answers_left.pop(0) if len(answers_left) > 1 else answers_left[0])(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?key=1"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


def status(code: int, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()

    return answer


def hangs(request: BaseHTTPRequestHandler) -> None:
    NEVER.wait(20)


def trickles(request: BaseHTTPRequestHandler) -> None:
    """Each byte comes in time, the whole never does."""
    request.wfile.write(b"HTTP/1.0 200 OK\r\n")
    for _ in range(200):
        try:
            request.wfile.write(b"X")
            request.wfile.flush()
        except OSError:
            return
        if NEVER.wait(0.1):
            return


def closes(request: BaseHTTPRequestHandler) -> None:
    request.connection.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Return what makes servers; attempts follow each other quickly."""
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.01)
    servers: list[Server] = []

    def make(*answers: Answer) -> Server:
        servers.append(Server(*answers))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def to(server: Server, *, token: str | None = None, timeout: float = 5.0, attempts: int = 3) -> Webhook:
    return Webhook(server.url, token, timeout, attempts)


def test_it_posts_json_once_with_a_token(serve: Callable[..., Server]) -> None:
    server = serve(status(200))
    to(server, token="secret").post(b"{}", NEVER)
    ((path, headers, content),) = server.requests
    assert (path, content) == ("/hook?key=1", b"{}")
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("fault", [status(500), status(503), status(429), closes], ids=["500", "503", "429", "closes"])
def test_what_may_succeed_is_tried_again(serve: Callable[..., Server], fault: Answer) -> None:
    server = serve(fault, fault, status(204))
    to(server).post(b"{}", NEVER)
    assert len(server.requests) == 3


def test_it_is_not_tried_for_ever(serve: Callable[..., Server]) -> None:
    server = serve(status(500))
    with pytest.raises(OSError, match=r"it answers 500 \(attempt 3 of 3\)"):
        to(server).post(b"{}", NEVER)
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [400, 401, 404])
def test_what_is_refused_is_not_tried_again(serve: Callable[..., Server], code: int) -> None:
    server = serve(status(code))
    with pytest.raises(RefusedError, match=f"it answers {code}"):
        to(server).post(b"{}", NEVER)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(serve: Callable[..., Server], code: int) -> None:
    inner = serve(status(200))
    server = serve(status(code, Location=inner.url))
    with pytest.raises(RefusedError, match="redirects are not followed"):
        to(server, token="secret").post(b"{}", NEVER)
    assert inner.requests == []


@pytest.mark.parametrize("fault", [hangs, trickles])
def test_a_server_that_is_slow_takes_bounded_time(serve: Callable[..., Server], fault: Answer) -> None:
    """A server that answers within its 20 seconds would be waited for, were there no limit."""
    server = serve(fault)
    with pytest.raises(OSError, match="attempt 1 of 1"):
        to(server, timeout=0.3, attempts=1).post(b"{}", NEVER)


def test_a_server_that_is_away_is_an_error(serve: Callable[..., Server]) -> None:
    server = serve(status(200))
    webhook = to(server, attempts=2)
    server.close()
    with pytest.raises(OSError, match="attempt 2 of 2"):
        webhook.post(b"{}", NEVER)


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example",
        "file:///etc/passwd",
        "ftp://hooks.example/",
        "http://",
        "http://a:99999999/",
        "http://[a/",
        "https://user:secret@hooks.example/",
        "https://hooks.example/\r\nX-Injected: 1",
        "https://hooks.example/a b",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(EsperError) as caught:
        Webhook(url, None, 1.0, 1)
    assert caught.value.code == "E504"
    assert "secret" not in str(caught.value)


def test_a_token_cannot_add_headers() -> None:
    with pytest.raises(EsperError, match="characters"):
        Webhook("https://hooks.example/", "a\r\nX-Injected: 1", 1.0, 1)


def test_where_it_goes_is_shown_without_its_path() -> None:
    assert (
        Webhook("https://hooks.example:8443/services/SECRET?key=1", None, 1.0, 1).where == "https://hooks.example:8443"
    )


CHANGE = AlertChange(
    alert=next(it for it in ALERTS if it.name == "EsperLossNotFinite"),
    state=AlertState.FIRING,
    labels={"run": "mine", "host": "grown", "finite": "no"},
    value=1.0,
    since=1700000000.25,
    time=1700000300.0,
)


def test_the_body_is_that_of_alertmanager() -> None:
    twin = evolve(CHANGE, labels={**CHANGE.labels, "host": "twin"})
    (found,) = notifications([CHANGE, twin])
    assert found["version"] == "4"
    assert found["status"] == "firing"
    assert found["groupLabels"] == {"alertname": "EsperLossNotFinite"}
    assert found["commonLabels"] == {
        "alertname": "EsperLossNotFinite",
        "finite": "no",
        "run": "mine",
        "severity": "page",
    }
    assert [it["labels"]["host"] for it in found["alerts"]] == ["grown", "twin"]
    first = found["alerts"][0]
    assert first["startsAt"] == "2023-11-14T22:13:20.250Z"
    assert first["endsAt"] == "0001-01-01T00:00:00Z"
    assert first["annotations"]["summary"] == "mine/grown: a loss is no finite number"
    assert len({it["fingerprint"] for it in found["alerts"]}) == 2


def test_what_is_resolved_says_when_and_stands_in_a_body_of_its_own() -> None:
    over = evolve(CHANGE, state=AlertState.RESOLVED, labels={"run": "other"})
    bodies = {it["status"]: it for it in notifications([CHANGE, over])}
    assert bodies.keys() == {"firing", "resolved"}
    assert bodies["resolved"]["alerts"][0]["endsAt"] == "2023-11-14T22:18:20.000Z"


@pytest.mark.parametrize(
    "text", ['"}], "status": "x', "\x00\x1b[2J\r\n", "naïve 種子 \U0001f331", "\udc80", "</script>"]
)
def test_whatever_a_label_holds_is_text_in_json(text: str) -> None:
    change = evolve(CHANGE, labels={"run": text}, value=inf)
    (found,) = notifications([change])
    content = body(found)
    assert content.isascii()
    assert json.loads(content)["alerts"][0]["labels"]["run"] == text
    assert not any(byte < 32 for byte in content)


def test_fingerprints_are_those_of_prometheus() -> None:
    """FNV-1a of nothing is its offset; one byte more is one step."""
    assert fingerprint({}) == "cbf29ce484222325"
    assert fingerprint({"a": "b", "c": "d"}) == fingerprint({"c": "d", "a": "b"})


def lost_by(sender: Sender, done: threading.Event) -> None:
    assert done.wait(30)
    sender.close(30)


def test_what_is_lost_is_counted_and_told(serve: Callable[..., Server]) -> None:
    told: list[tuple[str, str]] = []
    done = threading.Event()

    def failed(it: Notification, why: str) -> None:
        told.append((it.about, why))
        done.set()

    sender = Sender(to(serve(status(400), status(200))), failed)
    sender.put(Notification("first", b"{}"))
    sender.put(Notification("second", b"{}"))
    lost_by(sender, done)
    assert (sender.taken, sender.lost) == (1, 1)
    assert told == [("first", "it answers 400")]


def test_nobody_waits_for_a_server_that_hangs(serve: Callable[..., Server]) -> None:
    """There is room for so many, the rest is lost at once; and an end is not put off."""
    server = serve(hangs)
    sender = Sender(to(server, timeout=20.0), lambda *_: None)
    for number in range(150):
        sender.put(Notification(str(number), b"{}"))
    assert sender.lost >= 49
    sender.close(0.0)
    assert sender.lost == 150
    sender.put(Notification("late", b"{}"))
    assert sender.lost == 151
