"""The dashboard served in a thread of the test's own process."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from esper_app_dashboard.app import Dashboard
from esper_app_dashboard.board import Board
from esper_app_dashboard.guard import Access
from esper_app_dashboard.services import Services
from esper_app_dashboard.serving import listen, serve
from esper_weatherlight.http import status_server
from esper_weatherlight.machine import Http
from esper_weatherlight.state import SupervisorRecord, folder_of, write_record

#: A server that takes longer than this to begin or to end hangs.
PATIENCE = 60


HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"


def machine_status(**more: Any) -> dict[str, Any]:
    """Return what a supervisor of two services says; one has failed, and says why in hostile words."""

    def service(name: str, state: str, **own: Any) -> dict[str, Any]:
        usual = {"for_seconds": 3725.0, "restarts": 2, "health": "healthy", "reason": "", "figures": {}}
        return {"name": name, "state": state, **usual, "summary": f"{name} is as it should be", **own}

    signal = {"level": "halt", "at": "2026-11-29T10:00:00+00:00", "run": "digits-1", "reason": HOSTILE}
    return {
        "mode": "up",
        "health": "critical",
        "ready": False,
        "up_seconds": 7200.0,
        "bus": "sqlite:",
        "services": [service("nissa", "ready"), service("digits", "failed", health="critical", reason=HOSTILE)],
        "emergencies": {"count": 7, "newest": [{**signal, "service": "digits"}]},
        **more,
    }


@contextmanager
def supervised(state: Path, status: Callable[[], dict[str, Any]] = machine_status) -> Iterator[Path]:
    """Let this process be the supervisor of a state directory, which says `status`."""
    answering = status_server(Http(), status)
    began = psutil.Process().create_time()
    write_record(folder_of(state), SupervisorRecord(pid=os.getpid(), began=began, mark="m", url=answering.url))
    try:
        yield state
    finally:
        answering.close()


@contextmanager
def serving(runs: Path, interval: float = 0.05, services: Services | None = None) -> Iterator[tuple[Dashboard, int]]:
    """Serve the runs in a directory, and services if there are some, and yield the dashboard and its port."""
    listening, ready, ends = listen("127.0.0.1", 0), threading.Event(), []
    port = listening.getsockname()[1]
    dashboard = Dashboard(Board(runs), Access(host="127.0.0.1", port=port), interval, services)

    def began(end) -> None:
        ends.append(end)
        ready.set()

    thread = threading.Thread(target=serve, args=(dashboard, listening, began))
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield dashboard, port
    finally:
        ends[0]()
        thread.join(PATIENCE)
        assert not thread.is_alive()
