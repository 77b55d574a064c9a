"""Ask a component in processes of its own, in which texts have other hashes: sets have another order there."""

import importlib
import importlib.util
import os
import pickle
import pickletools
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from esper_testing.check import CheckFailure, NotApplicable

#: Values of PYTHONHASHSEED.
HASH_SEEDS = (1, 2, 3)

#: Seconds after which a process is given up.
PATIENCE = 300.0

_CHILD = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    sys.path[:], files, call = pickle.load(file)
from esper_testing.processes import answer
answer(files, call, sys.argv[2])
"""


def elsewhere(function: Callable[..., Any], *calls: Sequence[Any]) -> list[Any]:
    """Call a function of this package in several new processes at once, each with arguments and a hash seed of its own.

    Raises:
        NotApplicable: if the arguments cannot be sent: a factory is a lambda, or was written in a function.
        CheckFailure: with what it raised there.
    """
    with TemporaryDirectory() as folder:
        seeds = HASH_SEEDS[: len(calls)]
        begun = [_begin(Path(folder) / str(n), n, function, call) for n, call in zip(seeds, calls, strict=True)]
        return [_end(process, file) for process, file in begun]


def _begin(
    folder: Path, seed: int, function: Callable[..., Any], arguments: Sequence[Any]
) -> tuple["subprocess.Popen[str]", Path]:
    folder.mkdir()
    question, file = folder / "question", folder / "answer"
    call = _sendable((function, tuple(arguments)))
    question.write_bytes(pickle.dumps(([entry for entry in sys.path if entry], _files(call), call)))
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(question), str(file)],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
        )
    return process, file


def _end(process: "subprocess.Popen[str]", file: Path) -> Any:
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if not file.exists():
        last = (file.parent / "errors").read_text(errors="replace").strip().splitlines()
        raise _failed(last[-1] if last else f"the process ended with {process.returncode}")
    error, result = pickle.loads(file.read_bytes())
    if error:
        raise _failed(error)
    return result


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


def answer(files: dict[str, str], call: bytes, file: str) -> None:
    """Make a call that was sent, and write what came of it: an error or a result."""
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
