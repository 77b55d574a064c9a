"""The directory of one run: made under a name of its own, its files written whole or not at all."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.records import to_json

#: Where runs are written unless a configuration says otherwise.
RUNS = "runs"

#: Stands beside the runs and leads to the newest one.
LAST = "last"

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
        """Read a file. Raises EsperError E508 if it is missing or cannot be read."""
        try:
            return (self.path / name).read_bytes()
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
            data = json.loads(self.read_bytes(name))
        except (ValueError, RecursionError) as error:
            raise self.damaged(name, str(error)) from error
        if not isinstance(data, dict):
            raise self.damaged(name, f"it holds a {type(data).__name__}, not an object")
        return data

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
    if path.name == LAST and path.is_file():
        path = path.parent / path.read_text(encoding="utf-8").strip()
    path = path.resolve()
    if not (path / MANIFEST).is_file():
        beside = [other.name for other in path.parent.glob("*/") if (other / MANIFEST).is_file()]
        what = f'there is no run at "{path}"'
        fix = did_you_mean(path.name, beside) if beside else "begin one: esper run TASK; or name its directory"
        raise EsperError("E505", what, why=f"it has no {MANIFEST}", fix=fix)
    return RunDirectory(path)


def point_last_at(path: Path) -> None:
    """Let ``last`` lead to a run beside it: by a symbolic link, or a file with the name where there are no links.

    Raises:
        OSError: if it cannot be written.
    """
    last = path.parent / LAST
    link = path.parent / f".{LAST}.{os.getpid()}"
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(path.name, target_is_directory=True)
    except (OSError, NotImplementedError):
        write_atomically(last, f"{path.name}\n".encode())
        return
    link.replace(last)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers, and a crash, find the old content or the new one, never a part.

    Raises:
        OSError: if it cannot be written; then nothing is left behind.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


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
