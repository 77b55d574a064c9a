"""The services of a state directory in the dashboard: what `esper status` says, and nothing where there is nothing."""

import http.client
import importlib.util
import json
from io import StringIO
from pathlib import Path

import pytest

from esper_app_dashboard.services import Services, state_of_services
from esper_app_up.command import status_page
from esper_runs.terminal import Terminal

_SPEC = importlib.util.spec_from_file_location("esper_test_server", Path(__file__).parents[1] / "dashboard_server.py")
server = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(server)


@pytest.fixture
def present():
    """What the supervisor says."""
    return server.machine_status()


@pytest.fixture
def state(tmp_path, present):
    """A state directory whose supervisor, in this process, says `present`."""
    with server.supervised(tmp_path, lambda: present) as state:
        yield state


def texts(nodes):
    for node in nodes:
        if isinstance(node, str):
            yield node
        else:
            yield from texts(node[2])


def said(services):
    return [*texts(json.loads(services.view())["nodes"])]


def test_the_dashboard_and_esper_status_say_the_same(state, present):
    shown = said(Services(state))
    terminal = Terminal(out := StringIO(), 500)
    terminal.print(*status_page(present, terminal))
    headline, titles, _, *rest = out.getvalue().splitlines()
    rows, signals = rest[: len(present["services"])], rest[len(present["services"]) :]
    assert headline in shown
    cells = [it for line in [titles, *rows] for it in line.replace("  ", "\0").split("\0") if it.strip()]
    for cell in map(str.strip, cells):
        assert any(cell in it for it in shown), cell
    assert [it.strip() for it in signals] == [it for it in shown if it in {line.strip() for line in signals}]
    for word in ("digits", "failed", "1h02m", "2", "critical", "halt 10:00:00", server.HOSTILE):
        assert word in shown


def test_where_nothing_is_supervised_nothing_is_shown_unless_it_was_asked_for(tmp_path):
    assert said(Services(tmp_path)) == []
    assert said(Services(None)) == []
    assert said(Services(tmp_path, asked=True)) == ["no services are supervised; begin with: esper up"]
    assert not [*tmp_path.iterdir()]


def test_a_supervisor_that_says_something_else_is_no_reason_to_fail(state, present):
    present["services"] = 7
    (words,) = said(Services(state))
    assert words.startswith("what the supervisor answers is no status")


def test_the_supervisor_is_asked_once_a_second_at_most(state, present):
    now = [0.0]
    services = Services(state, clock=lambda: now[0])
    assert any("up for 2h00m" in it for it in said(services))
    present["mode"] = "draining"
    assert any("up for 2h00m" in it for it in said(services))
    now[0] = 1.1
    assert any("draining for 2h00m" in it for it in said(services))


def test_it_is_found_where_the_state_directory_is(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "s"))
    assert state_of_services(None) == tmp_path / "s"
    assert state_of_services(tmp_path / "other") == tmp_path / "other"


def test_it_is_answered_with_the_same_headers_as_everything(state, tmp_path):
    with server.serving(tmp_path / "runs", services=Services(state)) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/api/services")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
    assert answer.status == 200
    assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]
    assert "digits" in [*texts(json.loads(body)["nodes"])]
