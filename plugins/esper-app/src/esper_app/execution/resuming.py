"""May a run go on? Its directory, its newest checkpoint and its plugins decide."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esper_app.execution.checkpoint import FOLDER, newest_checkpoint
from esper_core.leyline.errors import EsperError
from esper_runs.run_directory import MANIFEST, RESULT, RunDirectory


def resumable(directory: RunDirectory) -> Path:
    """Return the checkpoint from which a run can go on.

    Raises:
        EsperError: E506 if the run is complete, or has no checkpoint.
    """
    result = directory.path / RESULT
    if result.is_file() and json.loads(result.read_text(encoding="utf-8"))["outcome"] != "interrupted":
        raise EsperError(
            "E506", f'run "{directory.name}" is over', why="it has a result", fix="begin a new run: esper run TASK"
        )
    path = newest_checkpoint(directory.path / FOLDER)
    if path is None:
        raise EsperError(
            "E506",
            f'run "{directory.name}" has no checkpoint',
            where=str(directory.path / FOLDER),
            why="it ended before its first one, or was told to write none (checkpoints.every = 0)",
            fix="begin it anew: esper run --config " + str(directory.path / "config.toml"),
        )
    return path


def read_manifest(directory: RunDirectory) -> dict[str, Any]:
    """Return a run's manifest."""
    manifest: dict[str, Any] = json.loads((directory.path / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the run's code and data are those that it began with.

    Raises:
        EsperError: E511 naming the first plugin, or the core, that has changed; E502 if the data have.
    """
    was, is_now = _code(before), _code(now)
    for name in was:
        if name not in is_now or was[name] != is_now[name]:
            version, digest = was[name]
            current = f"{is_now[name][0]}, {is_now[name][1]}" if name in is_now else "not used any more"
            raise EsperError(
                "E511",
                f"{name} is not what the run began with",
                why=f"it was {version}, {digest}; it is {current}",
                fix=f"pip install {name}=={version}, or begin a new run",
            )
    if before["data"] != now["data"]:
        raise EsperError("E502", "the data are not those that the run began with", fix="bring the same data back")


def _code(manifest: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """Version and digest of the core and of every plugin that was used, by distribution or file."""
    entries = [entry for entry in manifest["plugins"] if entry["used"]]
    found = {entry["distribution"] or entry["file"]: (entry["version"], entry["digest"]) for entry in entries}
    core = manifest["core"]
    return {core["distribution"]: (core["version"], core["digest"]), **found}
