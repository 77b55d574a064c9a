"""A run that cannot begin leaves nothing behind: no directory, and ``last`` points where it did before."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from esper_core.leyline.errors import EsperError
from esper_runs.run_directory import LAST, RunDirectory, point_last_at
from esper_runs.run_list import last_of


@contextmanager
def withdrawn_unless_begun(directory: RunDirectory, before: str | None) -> Iterator[None]:
    """Remove the run's directory if the run cannot begin, because a sink refuses or the user interrupts it.

    Otherwise the list of runs would show a run that can be neither viewed nor resumed, and its name would be taken.

    Args:
        directory: created a moment ago, with only this run's files in it.
        before: the run that ``last`` pointed to before; None: it did not exist.
    """
    try:
        yield
    except (EsperError, KeyboardInterrupt):
        # If it cannot be removed, the error being raised matters more.
        with suppress(OSError):
            _withdraw(directory.path, before)
        raise


def _withdraw(path: Path, before: str | None) -> None:
    # Another run may have begun meanwhile.
    ours = last_of(path.parent) == path.name
    shutil.rmtree(path)
    if not ours:
        return
    if before is not None:
        point_last_at(path.parent / before)
    else:
        (path.parent / LAST).unlink()
