"""The safety sheet of a blueprint: conformance checks as probes, in a process of their own that can be killed."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from esper_app.api import PluginOptions
from esper_app_catalogue.measuring import require_runnable
from esper_app_catalogue.surroundings import circumstances
from esper_core.api import EsperError
from esper_karn.api import CatalogueEntry, Finding, SafetySheet

#: What is looked for, and the conformance checks that find it.
HAZARDS: Mapping[str, tuple[str, ...]] = {
    "nan": ("blueprint-shape", "blueprint-any-size", "blueprint-single-sample", "blueprint-finite-gradients"),
    "explosion": ("blueprint-bounded",),
    "vanishing": ("blueprint-first-gradient", "blueprint-every-parameter-learns"),
    "precision": ("blueprint-autocast",),
    "isolation": ("blueprint-zero-at-birth", "blueprint-input-untouched", "blueprint-isolated"),
    "noise": ("blueprint-forward-deterministic", "component-many-calls"),
    "memory": ("component-memory",),
}

#: What is found where a probe does not end.
HANG = "hang"

#: Seconds after which the output of a process that was killed is left alone: what left its group may hold it open.
_LEFT_SECONDS = 5.0

#: Seconds that a process may take to load the plugins, before its first probe; as many as a probe, if that is more.
LOADING_SECONDS = 120.0


def safety_sheet(
    entry: CatalogueEntry, given: Mapping[str, Any], plugins: PluginOptions, *, timeout: float = 120.0
) -> SafetySheet:
    """Probe a blueprint itself, with its options.

    The probes run in a process of their own, with one thread. A probe that does not end within `timeout` seconds is
    killed with it; then the hazard is a hang, and what was still to come is not probed. What the probes have started is
    killed when they are over, and when this process dies.

    Args:
        entry: the blueprint's.
        given: its options, as a configuration file has them.
        plugins: with which the process finds the blueprint.
        timeout: seconds for each probe.

    Raises:
        EsperError: E161 if the blueprint cannot run here, E201 and E202 for its options, E530 if the process cannot
            load it.
    """
    require_runnable(entry)
    options = entry.options(given)
    question = {
        "plugins": plugins.as_data(),
        "blueprint": entry.id,
        "options": dict(given),
        "checks": [it for ids in HAZARDS.values() for it in ids],
    }
    findings = tuple(_findings(question, timeout))
    return SafetySheet(circumstances=circumstances(entry, options, threads=1), findings=findings)


def _findings(question: Mapping[str, Any], timeout: float) -> Iterator[Finding]:
    waiting = {check: hazard for hazard, checks in HAZARDS.items() for check in checks}
    running = ""
    with TemporaryDirectory() as folder, _Process(question, Path(folder) / "errors") as process:
        while waiting:
            line = process.line(timeout if running else max(timeout, LOADING_SECONDS))
            if isinstance(line, _Silent):
                if not running:
                    raise _not_loaded(question["blueprint"], line)
                hazard = HANG if line.timed_out else waiting[running]
                seen = f"it did not end within {timeout:g} s" if line.timed_out else line.why
                del waiting[running]
                yield Finding(hazard=hazard, check=running, outcome="found", seen=seen)
                why = f"the process was gone after {running}"
                yield from (
                    Finding(hazard=it, check=check, outcome="not probed", seen=why) for check, it in waiting.items()
                )
                return
            running, outcome, seen = line
            if outcome:
                yield Finding(hazard=waiting.pop(running), check=running, outcome=outcome, seen=seen)


def _not_loaded(blueprint: str, silent: "_Silent") -> EsperError:
    fix = "raise --timeout" if silent.timed_out else "esper plugins check shows what is wrong"
    return EsperError("E530", f"{blueprint} cannot be probed", why=silent.why, fix=fix)


class _Silent:
    """Nothing was said any more: in time, or because the process is gone."""

    def __init__(self, why: str, *, timed_out: bool) -> None:
        self.why, self.timed_out = why, timed_out


class _Process:
    """The process that probes; its standard output is read line by line, with patience.

    It has a session of its own, so that what it has started can be killed with it. Its standard input stays open as
    long as this process lives.
    """

    def __init__(self, question: Mapping[str, Any], errors: Path) -> None:
        self._question, self._errors = question, errors
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> "_Process":
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "esper_app_catalogue.probe_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{json.dumps(self._question)}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it is gone, and its errors say why
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        # It is not reaped before its group is killed, so that the number of the group is nobody else's.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._reader.join(_LEFT_SECONDS)

    def line(self, seconds: float) -> "tuple[str, str, str] | _Silent":
        """Return the next line: a check, its outcome (empty: it begins), and what was seen."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return _Silent(f"nothing came for {seconds:g} s", timed_out=True)
        if line is None:
            code = _exit_code(self._process.pid)
            last = self._errors.read_text(errors="replace").strip().splitlines()[-1:]
            return _Silent(": ".join([f"the process ended with {code}", *last]), timed_out=False)
        check, outcome, seen = json.loads(line)
        return check, outcome, seen

    def _read(self, stdout: TextIO) -> None:
        with stdout:
            for line in stdout:
                self._lines.put(line)
        self._lines.put(None)


def _exit_code(pid: int) -> int:
    """Wait for the end of a process, and leave it to be reaped: the number of a signal is negative."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
