"""Removing runs by rule. What is not surely a run of ours, or may be in use, is left alone."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from esper_runs.reading import parse_json, read_regular
from esper_runs.result import UNFINISHED
from esper_runs.run_directory import LAST, MANIFEST, point_last_at, read_last
from esper_runs.run_list import DAMAGED, RunSummary, last_of, list_runs

#: A run without a result to which something was written in the last hour may still go on.
_QUIET_SECONDS = 3600
_SECONDS_PER_DAY = 86400


@frozen(kw_only=True)
class PruneRule:
    """Which runs are to go: those to which every condition that is set applies.

    Attributes:
        names: only these; naming a run also waives the protection of the newest and of running ones.
        keep: all but this many of the newest in the directory.
        older_than_days: only those that began longer ago.
        outcomes: only those that ended so.
    """

    names: tuple[str, ...] = ()
    keep: int | None = None
    older_than_days: float | None = None
    outcomes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """It sets no condition, so it would apply to everything."""
        return not self.names and self.keep is None and self.older_than_days is None and not self.outcomes


@frozen(kw_only=True)
class PrunePlan:
    """What a rule comes to.

    Attributes:
        doomed: runs to be removed, the newest first.
        spared: runs to which the rule applies but which are left alone, with the reason.
    """

    doomed: tuple[RunSummary, ...]
    spared: tuple[tuple[RunSummary, str], ...]


def prune_plan(runs: Sequence[RunSummary], rule: PruneRule, now: float) -> PrunePlan:
    """Apply a rule; nothing is removed.

    Args:
        runs: all runs of a directory, the newest first.
        rule: which of them are to go.
        now: seconds since 1970.
    """
    chosen = [run for place, run in enumerate(runs) if _applies(rule, run, place, now)]
    reasons = [(run, _protection(run, run.name in rule.names, now)) for run in chosen]
    return PrunePlan(
        doomed=tuple(run for run, reason in reasons if not reason),
        spared=tuple((run, reason) for run, reason in reasons if reason),
    )


def remove_run(path: Path) -> None:
    """Remove a run's directory. Its manifest goes last, so that a half removed run can still be recognised.

    Raises:
        EsperError: E501 if it is not a run of Esper's, or cannot be removed.
    """
    # Imported here: listing runs does without it.
    from esper_core.api import EsperError

    if path.is_symlink() or not _is_ours(path):
        raise EsperError("E501", f'"{path}" is not removed', why=f"its {MANIFEST} is not that of a run of Esper")
    try:
        for entry in path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != MANIFEST:
                entry.unlink()
        (path / MANIFEST).unlink()
        path.rmdir()
    except OSError as error:
        raise EsperError("E501", f'"{path}" cannot be removed', why=error.strerror or str(error)) from error


def mend_last(runs: Path) -> str | None:
    """Let ``last`` lead to the newest run if it leads nowhere; without runs it goes. Return where it leads."""
    last = runs / LAST
    if last_of(runs) is None and (last.is_symlink() or read_last(last) is not None):
        if remaining := list_runs(runs):
            point_last_at(runs / remaining[0].name)
        else:
            last.unlink()
    return last_of(runs)


def _applies(rule: PruneRule, run: RunSummary, place: int, now: float) -> bool:
    age = now - (run.started or run.written)
    return (
        (not rule.names or run.name in rule.names)
        and (rule.keep is None or place >= rule.keep)
        and (rule.older_than_days is None or age > rule.older_than_days * _SECONDS_PER_DAY)
        and (not rule.outcomes or run.outcome in rule.outcomes)
    )


def _protection(run: RunSummary, named: bool, now: float) -> str:
    if run.outcome == DAMAGED and not _is_ours(Path(run.directory)):
        return f"its {MANIFEST} is not that of a run of Esper"
    if named:
        return ""
    if run.last:
        return f'"{LAST}" leads to it'
    if run.outcome == UNFINISHED and now - run.written < _QUIET_SECONDS:
        return "it has no result and was written to in the last hour: it may still go on"
    return ""


def _is_ours(path: Path) -> bool:
    """Only what says so itself; a file of that name in somebody else's folder does not."""
    try:
        manifest = parse_json(read_regular(path / MANIFEST, inside=path))
    except (OSError, ValueError):
        return False
    return (
        isinstance(manifest, dict)
        and isinstance(manifest.get("format"), int)
        and isinstance(manifest.get("core"), dict)
        and manifest["core"].get("distribution") == "esper-core"
        and {"name", "started", "config"} <= manifest.keys()
    )
