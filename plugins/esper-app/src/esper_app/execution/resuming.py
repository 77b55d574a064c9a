"""May a run go on? Its directory, its newest checkpoint and its plugins decide."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from esper_app.execution.checkpoint import FOLDER, newest_checkpoint
from esper_app.execution.network_files import read_object
from esper_app.locks.lock import current_core
from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import ExecutorSpec
from esper_runs.reading import reading
from esper_runs.result import RunEnd
from esper_runs.run_directory import CONFIG, MANIFEST, RESULT, RunDirectory

#: The key of a manifest that tells a training from a run.
TRAINING = "training"

#: What may be another: where a run is kept and what it is called, which plugins may take part (what they are is checked
#: by their code), how often it is saved, and where its hosts run.
_FREE = frozenset({"runs", "name", "plugins", "checkpoints", "executor"})


def resumable(directory: RunDirectory) -> Path:
    """Return the checkpoint from which a run can go on.

    Raises:
        EsperError: E506 if the run is complete, or has no checkpoint.
    """
    over = os.path.lexists(directory.path / RESULT)
    if over and read_object(directory, RESULT).get("outcome") != RunEnd.INTERRUPTED:
        raise EsperError(
            "E506",
            f'run "{directory.name}" is over',
            why="it has a result",
            fix=f"look at it: {_command('show', directory.path)}; or begin a new run: esper {_begins(directory)} TASK",
        )
    path = newest_checkpoint(directory.folder(FOLDER))
    if path is None:
        raise EsperError(
            "E506",
            f'run "{directory.name}" has no checkpoint',
            where=str(directory.path / FOLDER),
            why="it ended before its first one, or was told to write none (checkpoints.every = 0)",
            fix=f"begin it again: {_command(_begins(directory), '--config', directory.path / CONFIG)}",
        )
    return path


def _begins(directory: RunDirectory) -> str:
    """Return the command that begins what is in a directory."""
    return "train" if TRAINING in read_manifest(directory) else "run"


def _command(*words: str | Path) -> str:
    return shlex.join(["esper", *map(str, words)])


def read_manifest(directory: RunDirectory) -> dict[str, Any]:
    """Return a run's manifest. Raises EsperError E508 if it is damaged."""
    manifest = read_object(directory, MANIFEST)
    for key, kind in (("config", dict), ("core", dict), ("data", dict), ("plugins", list)):
        if not isinstance(manifest.get(key), kind):
            raise directory.damaged(MANIFEST, f'its "{key}" is no {"table" if kind is dict else "list"}')
    return manifest


def resumed_manifest(
    manifest: Mapping[str, Any], directory: RunDirectory, resumed: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the manifest of a run that goes on. It may have been moved or renamed since it began."""
    before = manifest.get("resumed", [])
    resumes = [*(before if isinstance(before, list) else []), dict(resumed)]
    return {**manifest, "directory": str(directory.path), "name": directory.name, "resumed": resumes}


def begun_with(directory: RunDirectory, config: Mapping[str, Any], *, training: bool) -> dict[str, Any]:
    """Return the manifest of what goes on.

    Args:
        directory: where it is.
        config: its configuration as it is read now.
        training: whether it is a training of a policy.

    Raises:
        EsperError: E506 for a run where a training is wanted, or the reverse; E508 if the manifest is damaged; E515 if
            the configuration is not the one that it began with.
    """
    manifest = read_manifest(directory)
    if (TRAINING in manifest) is not training:
        what = f'run "{directory.name}" is no training' if training else f'"{directory.name}" is a training'
        fix = f"go on with it: {_command('run' if training else 'train', '--resume', directory.name)}"
        raise EsperError("E506", what, where=str(directory.path), fix=fix)
    refuse_other_settings(manifest["config"], config)
    return manifest


def refuse_other_core(manifest: Mapping[str, Any]) -> None:
    """Check that a run was begun with this Esper, before its configuration is read by it.

    Raises:
        EsperError: E511.
    """
    core = current_core()
    with reading(f'"{MANIFEST}"', Path(MANIFEST)):
        before = dict([_core(manifest)])
    _refuse_other_code(before, {core.plugin: (core.version, core.digest)})


def refuse_other_settings(began_with: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a run goes on with the configuration that it began with.

    Args:
        began_with: the configuration in the run's manifest.
        now: the configuration that was read.

    Raises:
        EsperError: E515 naming the first setting that differs.
    """
    with reading(f'"{MANIFEST}"', Path(MANIFEST)):
        before = dict(_flat(began_with))
    after = dict(_flat(now))
    for key in [*before, *(key for key in after if key not in before)]:
        if key.partition(".")[0] not in _FREE and before.get(key) != after.get(key):
            raise EsperError(
                "E515",
                f'"{key}" is not what it was when the run began',
                where=CONFIG,
                why=f"it was {json.dumps(before.get(key))}; it is {json.dumps(after.get(key))}",
                fix="put it back, or begin a new run with this file: esper run --config FILE",
            )


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted path. An empty table is a value: it says that there is nothing in it."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the run's code and data are those that it began with.

    Raises:
        EsperError: E511 naming the first plugin, or the core, that has changed; E502 if the data have.
    """
    with reading(f'"{MANIFEST}"', Path(MANIFEST)):
        code, data = _code(before), before["data"]
    _refuse_other_code(code, _code(now))
    if data != now["data"]:
        raise EsperError("E502", "the data have changed since the run began", fix="bring the same data back")


def _refuse_other_code(was: Mapping[str, Any], is_now: Mapping[str, Any]) -> None:
    for name in was:
        if name not in is_now or was[name] != is_now[name]:
            why, fix = _how_other(name, was[name], is_now.get(name))
            raise EsperError("E511", f"{name} is not what it was when the run began", why=why, fix=fix)


def _how_other(name: str, was: Sequence[str | None], now: Sequence[str | None] | None) -> tuple[str, str]:
    """Say what has changed, and what helps: another version can be installed, code that was edited cannot."""
    version, digest = was
    if now is not None and now[0] == version:
        why = f"its version is {version} as before, and its code was changed: digest {digest} then, {now[1]} now"
        return why, "bring back the code that the run began with, or begin a new run"
    current = "not used any more" if now is None else f"{now[0]}, {now[1]}"
    return f"it was {version}, {digest}; it is {current}", f"pip install {name}=={version}, or begin a new run"


def _code(manifest: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """Version and digest of the core and of every plugin that was used, by distribution or file.

    Executors do not count: whichever one runs the hosts, the results are the same.
    """
    entries = [it for it in manifest["plugins"] if any(used["kind"] != ExecutorSpec.kind for used in it["used"])]
    found = {entry["distribution"] or entry["file"]: (entry["version"], entry["digest"]) for entry in entries}
    return dict([_core(manifest)]) | found


def _core(manifest: Mapping[str, Any]) -> tuple[str, tuple[str | None, str | None]]:
    core = manifest["core"]
    return core["distribution"], (core["version"], core["digest"])
