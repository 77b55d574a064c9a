"""Ask a component in processes of its own, in which texts have other hashes: sets have another order there."""

import atexit
import importlib
import importlib.util
import json
import os
import pickle
import pickletools
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import Any

from esper_testing.check import CheckFailure, NotApplicable

#: Values of PYTHONHASHSEED.
HASH_SEEDS = (1, 2, 3)

#: Seconds after which a process is given up.
PATIENCE = 300.0

_SERVER = """
import json, os, sys, traceback
import torch
from esper_testing.processes import answer_question
for line in sys.stdin:
    question, file, errors = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(0, 1)
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600), 2)
            answer_question(question, file)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def elsewhere(function: Callable[..., Any], *calls: Sequence[Any]) -> list[Any]:
    """Call a function of this package in several other processes one after the other, each with a hash seed of its own.

    They are forked from processes that have imported torch and nothing of the component's.

    Raises:
        NotApplicable: if the arguments cannot be sent: a factory is a lambda, or was written in a function.
        CheckFailure: with what it raised there.
    """
    with TemporaryDirectory() as folder:
        seeds = HASH_SEEDS[: len(calls)]
        return [_ask(Path(folder) / str(n), n, function, call) for n, call in zip(seeds, calls, strict=True)]


def _ask(folder: Path, seed: int, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    folder.mkdir()
    question, file, errors = folder / "question", folder / "answer", folder / "errors"
    call = _sendable((function, tuple(arguments)))
    # The environment too: it may have changed since the server was started.
    question.write_bytes(pickle.dumps((dict(os.environ), [entry for entry in sys.path if entry], _files(call), call)))
    code = _server(seed).ask([str(question), str(file), str(errors)])
    if not file.exists():
        last = errors.read_text(errors="replace").strip().splitlines() if errors.exists() else []
        raise _failed(last[-1] if last else f"the process ended with {code}")
    error, result = pickle.loads(file.read_bytes())
    if error:
        raise _failed(error)
    return result


class _Server:
    """A process with a hash seed, that is forked for each question. It ends when this process does."""

    def __init__(self, seed: int) -> None:
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # What hangs is killed with it.
            start_new_session=True,
        )

        atexit.register(self.close)

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, words: list[str]) -> str:
        """Return the exit code of the process that took the question; it is killed when it takes too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        if select([self._process.stdout], [], [], PATIENCE)[0]:
            return self._process.stdout.readline().strip()
        os.killpg(self._process.pid, signal.SIGKILL)
        self.close()
        return f"nothing after {PATIENCE:g} s"


#: By hash seed.
_servers: dict[int, _Server] = {}


def _server(seed: int) -> _Server:
    if seed not in _servers or not _servers[seed].alive:
        _servers[seed] = _Server(seed)
    return _servers[seed]


def _failed(error: str) -> CheckFailure:
    return CheckFailure(
        f"in a process of its own: {error}",
        cause="it needs something that only the process at hand has, such as what another module has set",
        fix="import or make everything that it needs in its own modules",
    )


def _sendable(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=2)  # in which the names of classes and functions can be read
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise NotApplicable(f"it cannot be sent to another process: {error}") from error


def _files(call: bytes) -> dict[str, str]:
    """The files of modules that are named in a pickle: those given by path cannot be imported by name."""
    names = {str(value).split(" ")[0] for opcode, value, _ in pickletools.genops(call) if opcode.name == "GLOBAL"}
    found = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {name: file for name, file in found.items() if file}


def answer_question(question: str, file: str) -> None:
    """Make a call that was sent, and write what came of it: an error or a result."""
    environ, sys.path[:], files, call = pickle.loads(Path(question).read_bytes())
    os.environ.update(environ)
    error, result = "", None
    try:
        for name, path in files.items():
            _know(name, path)
        function, arguments = pickle.loads(call)
        result = function(*arguments)
    except NotApplicable as why:
        result = why
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"[:2000]
    partial = Path(f"{file}.partial")
    partial.write_bytes(pickle.dumps((error, result)))
    partial.rename(file)


def _know(name: str, path: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
