"""The server as a process: its address, its end, and browsers that are many, slow, or gone."""

import http.client
import importlib.util
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from esper_app_dashboard.board import Board
from esper_app_dashboard.serving import listen
from esper_core.leyline.errors import EsperError

_SPEC = importlib.util.spec_from_file_location("esper_test_server", Path(__file__).parents[1] / "dashboard_server.py")
_server = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_server)
serving = _server.serving

pytestmark = pytest.mark.slow

#: Whatever takes longer than this many seconds hangs.
PATIENCE = 60


def until(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)
    return found


class Listener:
    """A browser that listens to the stream."""

    def __init__(self, port: int, runs: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.connection.request("GET", f"/api/stream?runs={runs}")
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        assert self.answer.headers["content-type"].startswith("text/event-stream")

    def next(self) -> tuple[str, dict]:
        name = ""
        while True:
            line = self.answer.readline().decode()
            assert line, "the stream has ended"
            line = line.rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                return name, json.loads(line[6:])

    def close(self) -> None:
        self.connection.close()
        self.answer.close()


@pytest.fixture
def files(make_run):
    made = make_run().short_life()
    made.write()
    return made


def run_id(runs: Path) -> str:
    return json.loads(Board(runs).runs())["runs"][0]["id"]


def test_a_browser_is_told_what_has_changed_and_nothing_else(files):
    run = run_id(files.path.parent)
    with (
        serving(files.path.parent) as (_, port),
        closing(Listener(port, run)) as listener,
        closing(Listener(port)) as other,
    ):
        first = [listener.next(), listener.next()]
        assert [name for name, _ in first] == ["runs", "run"]
        assert first[1][1]["id"] == run
        assert other.next()[0] == "runs"
        files.epoch(10, {})
        files.write()
        told = [listener.next(), listener.next()]
        assert [name for name, _ in told] == ["runs", "run"]
        assert told[1][1]["version"] != first[1][1]["version"]
        assert other.next()[0] == "runs"


def test_many_browsers_are_told_by_one_look_and_leave_nothing_behind(files):
    run = run_id(files.path.parent)
    with serving(files.path.parent) as (dashboard, port):
        threads = {*threading.enumerate()}
        listeners = [Listener(port, run) for _ in range(100)]
        assert until(lambda: dashboard.streams.open == 100)
        assert {*threading.enumerate()} <= threads
        for listener in listeners:
            assert [listener.next()[0], listener.next()[0]] == ["runs", "run"]
        files.epoch(10, {})
        files.write()
        versions = {(listener.next(), listener.next())[1][1]["version"] for listener in listeners}
        assert len(versions) == 1
        for listener in listeners:
            listener.close()
        until(lambda: dashboard.streams.open == 0)
        assert not dashboard.streams._wanted


def test_a_browser_that_reads_nothing_or_is_gone_holds_up_no_other(files):
    run = run_id(files.path.parent)
    with serving(files.path.parent) as (dashboard, port):
        stuck = []
        for _ in range(20):
            it = socket.socket()
            it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            it.connect(("127.0.0.1", port))
            asked = f"GET /api/stream?runs={run} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            it.sendall(asked.encode() + f"GET /api/runs/{run} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            stuck.append(it)
        until(lambda: dashboard.streams.open == 20)
        with closing(Listener(port, run)) as listener:
            assert [listener.next()[0], listener.next()[0]] == ["runs", "run"]
            for epoch in range(10, 40):
                files.epoch(epoch, {})
                files.write()
                while listener.next()[0] != "run":
                    pass
        # Gone without a word, as after a broken network: the connection is reset.
        for it in stuck:
            it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            it.close()
        until(lambda: dashboard.streams.open == 0)


def test_nothing_is_looked_at_while_nobody_looks(files, monkeypatch):
    looks = []
    version = Board.version
    monkeypatch.setattr(Board, "version", lambda self, runs=(): looks.append(runs) or version(self, runs))
    with serving(files.path.parent) as (dashboard, port):
        with closing(Listener(port)) as listener:
            listener.next()
            until(lambda: len(looks) > 3)
        until(lambda: dashboard.streams.open == 0)
        assert not dashboard.streams._somebody.is_set()


def test_a_look_that_fails_is_not_the_last_one(files, monkeypatch):
    version, looks = Board.version, []

    def sometimes(self, runs=()):
        looks.append(runs)
        if len(looks) == 3:
            raise RuntimeError("the disk hiccups")
        return version(self, runs)

    monkeypatch.setattr(Board, "version", sometimes)
    with serving(files.path.parent) as (_, port), closing(Listener(port)) as listener:
        listener.next()
        until(lambda: len(looks) > 3)
        files.epoch(10, {})
        files.write()
        assert listener.next()[0] == "runs"


def test_a_port_in_use_is_an_error_with_a_way_out():
    with closing(listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EsperError) as raised:
            listen("127.0.0.1", port)
    assert f"error[E202] port {port} is in use" in str(raised.value)
    assert f"--port {port + 1}; or any that is free: --port 0" in str(raised.value)


def test_an_address_of_somebody_else_is_an_error():
    for host in ("203.0.113.9", "no.such.host.invalid"):
        with pytest.raises(EsperError, match=r"error\[E202\]"):
            listen(host, 0)


@pytest.fixture
def started(files, tmp_path):
    """Start ``esper dashboard`` as a process."""
    running = []

    def start(*arguments: str):
        command = [sys.executable, "-m", "esper_app.cli", "dashboard", "--port", "0", *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        line = process.stdout.readline()
        assert line, process.stderr.read()
        return process, line

    yield start
    for process in running:
        process.kill()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda it: it.name)
def test_it_prints_its_port_and_ends_when_it_is_told_to(started, number):
    process, line = started()
    port = int(re.fullmatch(r"dashboard: http://127\.0\.0\.1:(\d+)/ \(end it with Ctrl-C\)\n", line)[1])
    with closing(Listener(port)) as listener, closing(socket.socket()) as stuck:
        assert listener.next()[0] == "runs"
        stuck.connect(("127.0.0.1", port))  # wants much, and reads nothing
        stuck.sendall(b"GET /static/uPlot.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert listener.answer.read().strip() == b""
    assert process.communicate() == ("", "")


def test_elsewhere_it_makes_a_token_and_prints_it_once(started):
    process, line = started("--host", "0.0.0.0", "digits-1")
    port, token = re.search(r":(\d+)/\?token=([\w-]{43}) ", line).groups()
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE)
    with closing(connection):
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer x"}, 401),
            ({"Authorization": f"Bearer {token}"}, 200),
        ):
            connection.request("GET", "/api/runs", headers=headers)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (status, True)
    process.terminate()
    assert process.communicate(timeout=PATIENCE) == ("", "")
