"""What a run waits for until its hosts are there: said on stderr, because there is no log before there are hosts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from esper_core.leyline.executors import Executor
from esper_runs.printing import echo

#: Seconds; what takes less is not worth a line.
PATIENCE = 3.0


@runtime_checkable
class Waits(Protocol):
    """An executor that may have to wait before it has its hosts."""

    @property
    def waits_for(self) -> str:
        """What it waits for at this moment, in words; empty: nothing. It is read from another thread."""
        ...


@contextmanager
def waits_told(executor: Executor, name: str) -> Iterator[None]:
    """Say what an executor waits for, each thing once, as long as this block lasts.

    Args:
        executor: one that knows it (`Waits`), or any other.
        name: of the component.
    """
    if not isinstance(executor, Waits):
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_tell, args=(executor, name, over), name="esper-waits", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tell(executor: Waits, name: str, over: threading.Event) -> None:
    told = ""
    while not over.wait(PATIENCE):
        if (what := executor.waits_for) and what != told:
            echo(f"executor {name}: {what}", err=True)
            told = what
