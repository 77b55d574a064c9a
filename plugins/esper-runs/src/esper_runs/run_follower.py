"""A run that goes on, followed through its files: what is new in its log, its manifest and its result."""

import os
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_runs.event_follower import CHUNK, EventFollower, LogNews
from esper_runs.reading import why_unreadable
from esper_runs.run_directory import EVENTS, MANIFEST, RESULT, RunDirectory

_FIX = "bring the run's files back as they were"


@frozen(kw_only=True)
class RunNews:
    """What is new in a run's directory.

    Attributes:
        log: of its event log.
        manifest, result: what they hold now, as far as they could be read; None if there is none.
        problems: errors with the code E508 for each file that cannot be read.
    """

    log: LogNews
    manifest: Mapping[str, Any] | None
    result: Mapping[str, Any] | None
    problems: tuple[EsperError, ...] = ()


class RunFollower:
    """Follows the files of one run. It never writes, and takes no lock.

    Args:
        directory: the run's directory.

    Attributes:
        log: follows the event log.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.log = EventFollower(directory.path / EVENTS, inside=directory.path)
        self._files = {name: _File(directory, name) for name in (MANIFEST, RESULT)}

    def read(self, most: int = CHUNK) -> RunNews:
        """Return what is new; of the log, at most so many bytes further on. Nothing is raised for damaged files."""
        problems = []
        try:
            log = self.log.read(most)
        except OSError as error:
            log = LogNews(missing=True)
            problems.append(self.directory.damaged(EVENTS, why_unreadable(error)))
        for file in self._files.values():
            file.look()
            problems += [file.problem] if file.problem else []
        manifest, result = self._files[MANIFEST], self._files[RESULT]
        if not manifest.found and not manifest.problem:
            problems.append(_gone(self.directory))
        return RunNews(log=log, manifest=manifest.content, result=result.content, problems=tuple(problems))


class _File:
    """A file that is replaced as a whole: read again when it is another one."""

    def __init__(self, directory: RunDirectory, name: str) -> None:
        self._directory, self._path = directory, directory.path / name
        self._seen: tuple[int, ...] | None = None
        self.found = False
        self.content: Mapping[str, Any] | None = None
        self.problem: EsperError | None = None

    def look(self) -> None:
        try:
            stat = os.lstat(self._path)
        except OSError:
            # What was read stays known: a folder that is moved away says nothing else about the run.
            self.found, self._seen, self.problem = False, None, None
            return
        seen = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        self.found = True
        if seen != self._seen:
            self._seen, self.problem = seen, None
            try:
                self.content = self._directory.read_json(self._path.name)
            except EsperError as error:
                self.problem = error


def _gone(directory: RunDirectory) -> EsperError:
    why = f"there is no {MANIFEST} any more"
    return EsperError("E508", f'run "{directory.name}" is gone', where=str(directory.path), why=why, fix=_FIX)
