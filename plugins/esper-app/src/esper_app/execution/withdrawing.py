"""What keeps a run from beginning leaves nothing behind: no directory, and ``last`` leads where it led before."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from esper_core.leyline.errors import EsperError
from esper_runs.run_directory import LAST, RunDirectory, point_last_at
from esper_runs.run_list import last_of


@contextmanager
def withdrawn_unless_begun(directory: RunDirectory, before: str | None) -> Iterator[None]:
    """Remove a directory that was made for a run if a sink, or whoever waits for it, keeps the run from beginning.

    Otherwise the list of runs would show one that nobody can look at or go on with, and its name would be taken.

    Args:
        directory: was made a moment ago, and holds what this run has written.
        before: the run that ``last`` led to before; None: it led nowhere.
    """
    try:
        yield
    except (EsperError, KeyboardInterrupt):
        # What cannot be undone is less than what is told now.
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
