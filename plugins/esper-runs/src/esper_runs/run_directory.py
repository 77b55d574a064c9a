"""The directory of one run: made under a name of its own, its files written whole or not at all."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

from attrs import frozen

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.records import to_json
from esper_runs.reading import is_own_folder, parse_object, read_regular

#: Where runs are written unless a configuration says otherwise.
RUNS = "runs"

#: Stands beside the runs and leads to the newest one.
LAST = "last"

#: A temporary file of a process that nobody has heard of for so long is left over from one that was killed.
_LEFT_OVER_SECONDS = 3600

MANIFEST, RESULT, CONFIG, EVENTS = "manifest.json", "result.json", "config.toml", "events.jsonl"


@frozen
class RunDirectory:
    """A run's directory.

    Attributes:
        path: where it is.
    """

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    def read_bytes(self, name: str) -> bytes:
        """Read a file of its own. Raises EsperError E508 if it is missing, cannot be read, or is no file but a link."""
        try:
            return read_regular(self.path / name, inside=self.path)
        except FileNotFoundError as error:
            over = (self.path / RESULT).is_file()
            raise EsperError(
                "E508",
                f'run "{self.name}" has no "{name}"',
                where=str(self.path),
                why="it was removed" if over else "the run has not come to its end",
                fix="bring it back" if over else f"go on with the run: esper run --resume {self.path}",
            ) from error
        except OSError as error:
            raise self.damaged(name, error.strerror or str(error)) from error

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a file that holds one JSON object. Raises EsperError E508 if it is missing or damaged."""
        try:
            return parse_object(self.read_bytes(name))
        except ValueError as error:
            raise self.damaged(name, str(error)) from error

    def damaged(self, name: str, why: str) -> EsperError:
        """Return the error E508 for a file whose content is not what a run writes."""
        again = "" if name == CONFIG else f", or run it again: esper run --config {self.path / CONFIG}"
        return EsperError(
            "E508",
            f'"{name}" of run "{self.name}" is not as it was written',
            where=str(self.path / name),
            why=why,
            fix=f"bring the run's files back as they were{again}",
        )

    def folder(self, name: str) -> Path:
        """Return a folder of its own, which may not be there yet. Raises EsperError E508 if it is a link or a file."""
        path = self.path / name
        if not is_own_folder(path) and (path.exists() or path.is_symlink()):
            raise self.damaged(name, f"it is {'a symbolic link' if path.is_symlink() else 'a file'}, not a folder")
        return path

    def remove_leftovers(self) -> None:
        """Remove what writes left behind that were cut off. Only for who holds the directory: nobody may be writing."""
        for folder in (self.path, *(path for path in self.path.glob("*/") if is_own_folder(path))):
            for path in _temporaries(folder):
                with suppress(OSError):
                    path.unlink()

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Write plain data as strict JSON (see `records.to_json`). Raises EsperError E501."""
        self.write_text(name, to_json(data, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file. Raises EsperError E501."""
        try:
            write_atomically(self.path / name, text.encode())
        except OSError as error:
            raise _unwritable(self.path / name, error) from error


def create_run_directory(runs: Path, name: str | None, stem: str) -> RunDirectory:
    """Make a new run's directory and let ``last`` lead to it. No two runs ever share one.

    Args:
        runs: the directory that holds the runs; made if it is missing.
        name: the run's name; None: `stem` and the next free number.
        stem: the task's name.

    Raises:
        EsperError: E501 if a run of that name exists, or the directory cannot be made or written.
    """
    try:
        runs.mkdir(parents=True, exist_ok=True)
        _refuse_a_last_of_others(runs)
        path = _next_free(runs, stem) if name is None else _named(runs, name)
        point_last_at(path)
    except OSError as error:
        raise _unwritable(runs, error) from error
    return RunDirectory(path)


def find_run(path: Path) -> RunDirectory:
    """Return an existing run by its path; ``runs/last`` is the newest one.

    Raises:
        EsperError: E505 if there is none.
    """
    try:
        if path.name == LAST and (name := read_last(path)):
            path = path.parent / name
        path = path.resolve()
        found = (path / MANIFEST).is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a name that is none
        raise EsperError("E505", f'there is no run at "{path}"', why=str(error)) from error
    if not found:
        beside = [other.name for other in path.parent.glob("*/") if (other / MANIFEST).is_file()]
        what = f'there is no run at "{path}"'
        fix = did_you_mean(path.name, beside) if beside else "begin one: esper run TASK; or name its directory"
        raise EsperError("E505", what, why=f"it has no {MANIFEST}", fix=fix)
    return RunDirectory(path)


def read_last(last: Path) -> str | None:
    """Return the name of the run that ``last`` leads to where it is a file; None if it is none, or holds no name."""
    try:
        name = read_regular(last, inside=last.parent, largest=4096).decode().strip()
    except (OSError, ValueError):
        return None
    return name if _is_name(name) else None


def point_last_at(path: Path) -> None:
    """Let ``last`` lead to a run beside it: by a symbolic link, or a file with the name where there are no links.

    Raises:
        OSError: if it cannot be written.
    """
    last = path.parent / LAST
    for left in _temporaries(path.parent, LAST):
        _remove_old(left)
    link = _temporary(last)
    try:
        link.symlink_to(path.name, target_is_directory=True)
    except (OSError, NotImplementedError):
        write_atomically(last, f"{path.name}\n".encode())
        return
    link.replace(last)


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file so that readers, and a crash, find the old content or the new one, never a part.

    A link at the path is replaced, not followed. The parts are written one behind the other; none of them is copied.

    Raises:
        OSError: if it cannot be written; then nothing is left behind.
    """
    for left in _temporaries(path.parent, path.name):
        _remove_old(left)
    unfinished = _temporary(path)
    try:
        # Never through what somebody has put there: "x" is O_EXCL.
        with unfinished.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _temporary(path: Path) -> Path:
    # Imported here: it takes as long as much that only reads.
    import secrets

    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")


def _temporaries(folder: Path, name: str | None = None) -> Iterator[Path]:
    """Yield the temporary files of a folder, of all files or of one; a link is one of ``last``."""
    pattern = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.\d+(-[0-9a-f]{{8}})?")
    with suppress(OSError):
        for entry in os.scandir(folder):
            if pattern.fullmatch(entry.name) and (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                yield Path(entry.path)


def _remove_old(path: Path) -> None:
    with suppress(OSError):
        if time() - path.lstat().st_mtime > _LEFT_OVER_SECONDS:
            path.unlink()


def _is_name(text: str) -> bool:
    return text.isprintable() and 0 < len(text.encode()) < 256 and text not in (".", "..") and Path(text).name == text


def _refuse_a_last_of_others(runs: Path) -> None:
    """``last`` is replaced by each run; what is no link to a run beside it, nor a file with its name, is not ours."""
    last = runs / LAST
    try:
        mode = last.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        ours = _is_name(os.readlink(last))
    else:
        ours = (name := read_last(last)) is not None and (runs / name / MANIFEST).is_file()
    if not ours:
        fix = f'move "{last}" away, or choose another place: --set runs=DIRECTORY'
        why = "it is no link to a run beside it, and would be replaced"
        raise EsperError("E501", f'"{last}" is not one of Esper\'s', why=why, fix=fix)


def _next_free(runs: Path, stem: str) -> Path:
    """Above all numbers in use, so that order tells age. Another run may be quicker: then try the next one."""
    used = [int(m[1]) for entry in runs.iterdir() if (m := re.fullmatch(rf"{re.escape(stem)}-(\d+)", entry.name))]
    number = max(used, default=0) + 1
    while True:
        path = runs / f"{stem}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _named(runs: Path, name: str) -> Path:
    path = runs / name
    try:
        path.mkdir()
    except FileExistsError as error:
        fix = "choose another name, or leave it out for the next free one"
        raise EsperError("E501", f'there is a run "{path}" already', fix=fix) from error
    return path


def _unwritable(path: Path, error: OSError) -> EsperError:
    fix = "choose another place: --set runs=DIRECTORY"
    return EsperError("E501", f'"{path}" cannot be written', why=error.strerror or str(error), fix=fix)
