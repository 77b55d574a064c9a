"""The dashboard served in a thread of the test's own process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esper_app_dashboard.app import Dashboard
from esper_app_dashboard.board import Board
from esper_app_dashboard.guard import Access
from esper_app_dashboard.serving import listen, serve

#: A server that takes longer than this to begin or to end hangs.
PATIENCE = 60


@contextmanager
def serving(runs: Path, interval: float = 0.05) -> Iterator[tuple[Dashboard, int]]:
    """Serve the runs in a directory, and yield the dashboard and its port."""
    listening, ready, ends = listen("127.0.0.1", 0), threading.Event(), []
    port = listening.getsockname()[1]
    dashboard = Dashboard(Board(runs), Access(host="127.0.0.1", port=port), interval)

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
