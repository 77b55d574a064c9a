"""Who may see the dashboard. Each check has a mutant: a dashboard without that guard, which it must find."""

import json
import re
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files

import pytest
from starlette.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient

from esper_app_dashboard import guard
from esper_app_dashboard.app import Dashboard
from esper_app_dashboard.board import Board
from esper_app_dashboard.guard import Access, Guard, is_loopback

TOKEN = "t0ken-" * 6
HERE = "http://127.0.0.1:8765"
STATIC = files("esper_app_dashboard").joinpath("static")


@pytest.fixture
def client(make_run, tmp_path):
    made = []

    def new(host: str = "127.0.0.1", token: str | None = None, base: str = HERE, wrap=lambda app: app) -> TestClient:
        if not made:
            make_run().short_life().write()
        board = Board(tmp_path / "runs")
        dashboard = Dashboard(board, Access(host=host, port=8765, token=token))
        opened = TestClient(wrap(dashboard.app), base_url=base, follow_redirects=False)
        made.append(opened)
        opened.__enter__()
        return opened

    yield new
    for it in made:
        it.__exit__(None, None, None)


def a_strange_name_is_refused(client) -> None:
    opened = client()
    for name in (
        "evil.example",
        "evil.example:8765",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.7",
        "",
    ):
        assert opened.get("/api/runs", headers={"host": name}).status_code == 421, name
    for name in ("localhost:8765", "127.0.0.1", "127.0.0.2:1", "[::1]:8765"):
        assert opened.get("/api/runs", headers={"host": name}).status_code == 200, name
    elsewhere = client("0.0.0.0", TOKEN, "http://10.0.0.7:8765")
    assert elsewhere.get("/").status_code == 401
    assert elsewhere.get("/", headers={"host": "evil.example"}).status_code == 421


def nothing_is_shown_without_the_token(client) -> None:
    opened = client("0.0.0.0", TOKEN, "http://10.0.0.7:8765")
    for path in ("/", "/api/runs", "/api/runs/x", "/api/stream", "/static/dashboard.js", "/nowhere"):
        assert opened.get(path).status_code == 401, path
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "é", TOKEN.upper()):
        assert opened.get("/", params={"token": wrong}).status_code == 401
        assert opened.get("/api/runs", headers={"authorization": f"Bearer {wrong}".encode()}).status_code == 401
        assert opened.get("/api/runs", headers={"cookie": f"esper-dashboard-8765={wrong}".encode()}).status_code == 401
    # The token itself is no cookie, and no parameter of another address.
    assert opened.get("/api/runs", headers={"cookie": f"esper-dashboard-8765={TOKEN}"}).status_code == 401
    assert opened.get("/api/runs", params={"token": TOKEN}).status_code == 401


def the_first_visit_gets_a_cookie_that_no_script_and_no_other_site_has(client) -> None:
    opened = client("0.0.0.0", TOKEN, "http://10.0.0.7:8765")
    answer = opened.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {"httponly", "samesite=strict", "path=/"}
    assert opened.get("/api/runs").status_code == 200
    assert opened.get("/api/runs", headers={"cookie": f"other={{]; {cookie.split(';')[0]}"}).status_code == 200
    assert opened.get("/api/runs", headers={"authorization": f"Bearer {TOKEN}", "cookie": ""}).status_code == 200


def nothing_but_reading_is_possible(client) -> None:
    opened = client()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        for path in ("/api/runs", "/nowhere"):
            assert opened.request(method, path).status_code == 405, (method, path)
    for path in ("/", "/api/runs", "/api/stream"):
        assert opened.head(path).content == b""


def every_answer_has_the_headers(client) -> None:
    opened, locked = client(), client("0.0.0.0", TOKEN, "http://10.0.0.7:8765")
    answers = [opened.get(path) for path in ("/", "/api/runs", "/static/uPlot.js", "/nowhere", "/api/runs/x")]
    answers += [opened.post("/"), opened.get("/", headers={"host": "evil.example"}), locked.get("/")]
    answers += [locked.get("/", params={"token": TOKEN})]
    for answer in answers:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def other_sites_get_nothing(client) -> None:
    opened = client()
    for site in ("cross-site", "same-site"):
        headers = {"origin": "http://evil.example", "sec-fetch-site": site, "sec-fetch-mode": "cors"}
        answer = opened.get("/api/runs", headers=headers)
        assert answer.status_code == 403
        assert opened.get("/", headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"}).status_code == 200
    answer = opened.get("/api/runs", headers={"origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def no_address_leads_to_a_file(client) -> None:
    opened = client()
    for path in (
        *("/static/../board.py", "/static/%2e%2e/board.py", "/static/..%2fboard.py", "/static//etc/passwd", "/static/"),
        *(
            "/api/runs/..%2f..%2fetc%2fpasswd",
            "/api/runs/%2e%2e",
            "/api/runs/digits-1",
            "/api/runs/digits-1/events.jsonl",
        ),
    ):
        assert opened.get(path).status_code == 404, path


class Unguarded(Guard):
    """Passes everything on."""

    def _refusal(self, scope):
        return None


def patch(name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(guard, name, value)


def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esper_app_dashboard.app.Guard", Unguarded)


def with_cors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esper_app_dashboard.app.Guard", lambda app, access: Guard(CORSMiddleware(app, ["*"]), access))


def with_loose_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.responses import Response

    set_cookie = Response.set_cookie
    monkeypatch.setattr(
        Response, "set_cookie", lambda self, *a, samesite, **m: set_cookie(self, *a, samesite="lax", **m)
    )


def with_files_by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Board, "view", lambda self, run: ("x", (self._runs / run / "manifest.json").read_bytes()))


CHECKS = {
    a_strange_name_is_refused: lambda it: it.setattr(Access, "knows_host", lambda *_: True),
    nothing_is_shown_without_the_token: patch("_same", lambda given, expected: bool(given)),
    the_first_visit_gets_a_cookie_that_no_script_and_no_other_site_has: with_loose_cookie,
    nothing_but_reading_is_possible: unguarded,
    every_answer_has_the_headers: patch("HEADERS", {}),
    other_sites_get_nothing: with_cors,
    no_address_leads_to_a_file: with_files_by_path,
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda it: it.__name__)
def test_the_dashboard(check, client):
    check(client)


@pytest.mark.parametrize(("check", "mutate"), CHECKS.items(), ids=lambda it: getattr(it, "__name__", ""))
def test_a_mutant_is_found(check, mutate, client, monkeypatch):
    mutate(monkeypatch)
    with pytest.raises((AssertionError, KeyError, FileNotFoundError)):
        check(client)


def test_tokens_are_compared_in_constant_time(monkeypatch, client):
    seen = []
    monkeypatch.setattr(guard.secrets, "compare_digest", lambda a, b: seen.append((a, b)) or a == b)
    client("0.0.0.0", TOKEN, "http://10.0.0.7:8765").get("/", params={"token": "guess"})
    assert (b"guess", TOKEN.encode()) in seen


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.1.2.3", "example.org", "localhost.example")),
    ],
)
def test_what_only_this_machine_reaches(host, alone):
    assert is_loopback(host) is alone


class TestAnswers:
    def test_a_run_that_has_not_changed_is_not_sent_again(self, client):
        opened = client()
        (run,) = opened.get("/api/runs").json()["runs"]
        answer = opened.get(f"/api/runs/{run['id']}")
        assert answer.json()["version"] == answer.headers["etag"].strip('"')
        again = opened.get(f"/api/runs/{run['id']}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

    def test_pages_have_no_script_and_no_style_in_them(self, client):
        page = client().get("/").text
        assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=|javascript:", page)
        for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
            assert client().get(path).status_code == 200, path

    def test_scripts_make_no_markup_of_texts(self):
        for name in ("dashboard.js", "charts.js"):
            source = STATIC.joinpath(name).read_text()
            forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function"
            assert not re.search(forbidden, source)

    def test_uplot_is_as_it_was_published(self):
        folder = STATIC.joinpath("uplot")
        noted = dict(re.findall(r"\| `(uPlot\S+)` \| `([0-9a-f]{64})` \|", folder.joinpath("README.md").read_text()))
        found = {name: sha256(folder.joinpath(name).read_bytes()).hexdigest() for name in noted}
        assert found == noted
        assert {*noted} == {"uPlot.iife.min.js", "uPlot.min.css"}
        assert "1.6.32" in folder.joinpath("README.md").read_text()
        assert b"1.6.32" in folder.joinpath("uPlot.iife.min.js").read_bytes()
        assert folder.joinpath("LICENSE").read_text().startswith("The MIT License")

    def test_the_list_is_data(self, client):
        answer = client().get("/api/runs")
        assert answer.headers["content-type"] == "application/json"
        assert {"id", "name", "outcome", "epochs", "grown", "twin", "difference"} <= json.loads(answer.text)["runs"][
            0
        ].keys()
