"""What the `esper` command tells the shell, and the one table of it: help and documentation are made from here."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from esper_core.leyline.errors import ExitCode

#: Of every exit code: in short, for help, and in a sentence.
MEANINGS: Mapping[ExitCode, tuple[str, str]] = {
    ExitCode.OK: ("done", "success; also for `esper plugins list` if plugins are broken"),
    ExitCode.FAILED: (
        "failed",
        "it failed: the error is on stderr, with its code; also for `esper plugins diff` if anything differs, and for "
        "`esper plugins check` if a check fails",
    ),
    ExitCode.USAGE: ("usage", "the command, the configuration or a file that it names is wrong"),
    ExitCode.LOCK_MISMATCH: ("another plugin set than locked", "the plugins differ from the locked ones"),
    ExitCode.PLUGIN: (
        "a plugin is not available",
        "a plugin that is needed, or was asked for by name, is not available",
    ),
    ExitCode.DATA: ("data missing", "data are missing or damaged"),
    ExitCode.WENT_WRONG: (
        "run went wrong",
        "the run came to an end and wrote its result, but went wrong: a host failed or was stopped by the governor, or "
        "a network's loss on the test split is not a number; a run that was rolled back and recovered is a good one",
    ),
    ExitCode.SINKS: (
        "a sink lost events",
        "the run is complete, but a sink that it was to have has failed and lost events, or lost every one; what "
        "`sinks.when_full` lets a slow sink drop is not counted as lost",
    ),
    ExitCode.INTERNAL: ("a fault of Esper's", "an exception that has no code: a fault of Esper's or of a plugin's"),
    ExitCode.INTERRUPTED: ("interrupted", "interrupted; a run goes on with `esper run --resume`"),
}


def exit_code_of(result: Mapping[str, Any]) -> ExitCode:
    """Return the exit code of a run that came to an end. Of several that apply, the one that matters most.

    Args:
        result: what is in ``result.json``.
    """
    if result["outcome"] == "interrupted":
        return ExitCode.INTERRUPTED
    if "training" in result:  # hosts may diverge in one: the policy learns from it
        return _of_sinks(result)
    losses = [host["test_loss"] for host in result["hosts"].values()]
    failed = any(host.get("failure") for host in result["hosts"].values())
    if (
        failed
        or result.get("stopped")
        or result["outcome"] == "stopped"
        or any(loss is not None and not isfinite(loss) for loss in losses)
    ):
        return ExitCode.WENT_WRONG
    return _of_sinks(result)


def _of_sinks(result: Mapping[str, Any]) -> ExitCode:
    for counts in result["sinks"].values():
        if counts["dropped"] and (counts["errors"] or not counts["delivered"]):
            return ExitCode.SINKS
    return ExitCode.OK


def short_table(width: int) -> list[str]:
    """Return all codes on a few lines, for help; none is longer than a width unless a single code is."""
    lines = [""]
    parts = [f"{code.value} {short}" for code, (short, _) in MEANINGS.items()]
    for part, after in zip(parts, [","] * (len(parts) - 1) + [""], strict=True):
        if lines[-1] and len(lines[-1]) + 1 + len(part) + len(after) > width:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{part}{after}"
    return lines


def markdown_table() -> str:
    """Return all codes as a table, for the documentation."""
    rows = [f"| {code.value} | {meaning} |" for code, (_, meaning) in MEANINGS.items()]
    return "\n".join(["| exit code | meaning |", "|---|---|", *rows])
