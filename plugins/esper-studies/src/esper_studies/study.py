"""A study: runs that are wanted, some of them there, and processes that run the others."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Any

from attrs import frozen

from esper_app.api import PluginOptions
from esper_app.execution.run_lock import exclusive
from esper_core.leyline.errors import EsperError, ExitCode
from esper_runs.result import RunEnd
from esper_runs.run_directory import RESULT, RunDirectory, write_atomically
from esper_studies.requests import Resolver, RunRequest, request_digest

#: Folders of a study: of its runs, and of the reasons why others failed.
RUNS, FAILED = "runs", "failed"


@frozen(kw_only=True)
class StudyRun:
    """A run of a study that is over.

    Attributes:
        name: of its directory: the task and the digest of its configuration.
        directory: of the run; one that failed may have none.
        result: what is in ``result.json``; None if it has failed.
        failure: why it has failed; None if it has a result.
        cached: it was there already.
    """

    name: str
    directory: Path
    result: Mapping[str, Any] | None
    failure: str | None = None
    cached: bool = False


Told = Callable[[StudyRun, int, int], None]


class Study:
    """Many runs under one directory; a context in which its worker processes live.

    Args:
        root: the directory. One process at a time is at it.
        plugins: which plugins the runs may use.
        jobs: how many runs go on at the same time.
        deadline: by `time.monotonic`; no run begins after it. None: none.
        retry_failed: run again what has failed before.
        told: is told of every run that is over, with how many are over and how many are wanted.

    Attributes:
        root: its directory.
        resolve: resolves requests, with the plugins of the study.

    Raises:
        EsperError: E514 on entering, if another process is at the directory; E501 if it cannot be written.
    """

    def __init__(
        self,
        root: Path,
        plugins: PluginOptions | None = None,
        *,
        jobs: int = 1,
        deadline: float | None = None,
        retry_failed: bool = False,
        told: Told = lambda run, done, of: None,
    ) -> None:
        self.root = root.absolute()
        self._plugins = plugins or PluginOptions()
        self.resolve = Resolver(self._plugins)
        self._jobs = jobs
        self._deadline = deadline
        self._retry_failed = retry_failed
        self._told = told
        self._exit = ExitStack()
        self._idle: SimpleQueue[_Worker] = SimpleQueue()

    def __enter__(self) -> "Study":
        for folder in (RUNS, FAILED):
            try:
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                why = error.strerror or str(error)
                raise EsperError(
                    "E501", f'"{self.root}" cannot be written', why=why, fix="choose another place"
                ) from error
        self._exit.enter_context(exclusive(RunDirectory(self.root)))
        for _ in range(self._jobs):
            worker = _Worker(self.root / "worker.log")
            self._exit.callback(worker.end)
            self._idle.put(worker)
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._exit.close()

    def run(self, requests: Sequence[RunRequest]) -> list[StudyRun | None]:
        """Return a run for each request, in their order, once all are over; None for what the deadline left undone.

        Raises:
            EsperError: what is wrong with a request: E201 to E204, E301 and the like. The runs that are over are kept.
                E514 if a process of a study that was killed is still at a run.
        """
        named = [self._named(request) for request in requests]
        wanted = dict(zip(named, requests, strict=True))
        found: dict[str, StudyRun] = {}
        for name in wanted:
            if (run := self._there(name)) is not None:
                found[name] = run
                self._told(run, len(found), len(wanted))
        missing = [name for name in wanted if name not in found]
        pool = ThreadPoolExecutor(self._jobs)
        try:
            futures = [pool.submit(self._made, name, wanted[name]) for name in missing]
            for future in as_completed(futures):
                if (run := future.result()) is not None:
                    found[run.name] = run
                    self._told(run, len(found), len(wanted))
        except BaseException:
            self._end_workers()  # or their threads would wait for the runs
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return [found.get(name) for name in named]

    def _named(self, request: RunRequest) -> str:
        return f"{request.task}-{request_digest(self.resolve(request).configuration, self.root, request)}"

    def _there(self, name: str) -> StudyRun | None:
        """Return a run that is over already; clear away what is left of one that was cut."""
        directory, failed = self.root / RUNS / name, self.root / FAILED / f"{name}.json"
        if failed.is_file() and not self._retry_failed:
            why = str(json.loads(failed.read_text(encoding="utf-8"))["failure"])
            return StudyRun(name=name, directory=directory, result=None, failure=why, cached=True)
        failed.unlink(missing_ok=True)
        if (directory / RESULT).is_file():
            result = RunDirectory(directory).read_json(RESULT)
            if result.get("outcome") != RunEnd.INTERRUPTED and not _went_wrong(result):
                return StudyRun(name=name, directory=directory, result=result, cached=True)
        if directory.exists():
            # A worker whose study was killed may still be at it: it ends with its run.
            with exclusive(RunDirectory(directory)):
                shutil.rmtree(directory)
        return None

    def _made(self, name: str, request: RunRequest) -> StudyRun | None:
        worker = self._idle.get()
        try:
            if self._deadline is not None and monotonic() > self._deadline:
                return None
            return self._concluded(name, worker.run(self._order(name, request)))
        finally:
            self._idle.put(worker)

    def _order(self, name: str, request: RunRequest) -> dict[str, Any]:
        quiet = [] if _says(request, "sinks.names") else ['sinks.names=["jsonl"]']
        quiet += [] if _says(request, "checkpoints.every") else ["checkpoints.every=0"]
        placed = request.with_sets(
            *quiet, "executor.name=serial", f"runs={json.dumps(str(self.root / RUNS))}", f"name={json.dumps(name)}"
        )
        return {"request": placed.as_data(), "plugins": self._plugins.as_data()}

    def _concluded(self, name: str, answer: Mapping[str, Any]) -> StudyRun | None:
        if "refused" in answer:
            raise EsperError(**{"code": "E202", **answer["refused"]})
        directory, why = self.root / RUNS / name, answer.get("failure")
        if why is None:
            result = RunDirectory(directory).read_json(RESULT)
            if result["outcome"] == RunEnd.INTERRUPTED:
                return None
            if (why := _went_wrong(result)) is None:
                return StudyRun(name=name, directory=directory, result=result)
        content = json.dumps({"name": name, "failure": why}, indent=2) + "\n"
        write_atomically(self.root / FAILED / f"{name}.json", content.encode())
        return StudyRun(name=name, directory=directory, result=None, failure=why)

    def _end_workers(self) -> None:
        self._exit.close()


class _Worker:
    """A process of `esper_studies.worker`, made when there is something to run, and again when it has died."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def run(self, order: Mapping[str, Any]) -> dict[str, Any]:
        process = self._alive()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = process.wait()
        self._process = None
        if self._ended:
            raise KeyboardInterrupt
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return {"failure": f"its process ended with {how}; see {self._log.name}"}

    def end(self) -> None:
        self._ended = True
        process = self._process
        if process is not None and process.poll() is None:
            # Where it is at a run, the signal ends that after its epoch; then there is no further order.
            process.terminate()
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
            process.wait()

    def _alive(self) -> "subprocess.Popen[str]":
        if self._ended:
            raise KeyboardInterrupt
        if self._process is None or self._process.poll() is not None:
            with self._log.open("a", encoding="utf-8") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "esper_studies.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    # Ctrl-C is for the study: it must not look as if the run had taken its process with it.
                    process_group=0,
                )
        return self._process


def _went_wrong(result: Mapping[str, Any]) -> str | None:
    """Say why a run that came to an end is no result: a host failed or was stopped, or its loss is not a number."""
    from esper_app.exit_codes import exit_code_of

    if exit_code_of(result) is not ExitCode.WENT_WRONG:
        return None
    for name, host in result["hosts"].items():
        if host.get("failure"):
            return f"{name}: {host['failure']}"
    stopped = ", ".join(result.get("stopped") or ())
    return f"the governor stopped {stopped}" if stopped else "a loss on the test split is not a number"


def _says(request: RunRequest, key: str) -> bool:
    return key in request.options.settings or any(it.partition("=")[0].strip() == key for it in request.options.sets)
