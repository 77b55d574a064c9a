"""Run a plugin's code so that nothing it does can end the program, and say precisely what went wrong."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType, TracebackType
from typing import Any, NoReturn, TypeVar

from esper_core.leyline.deadline import OverdueError, within
from esper_core.leyline.errors import EsperError, summary
from esper_core.plugins.discovery import Candidate
from esper_core.plugins.records import Origin

#: Libraries that a descriptor module must not pull in: each costs as much as the command line itself, or far more.
HEAVY = frozenset(
    {
        "asyncio",
        "datasets",
        "jax",
        "matplotlib",
        "numpy",
        "pandas",
        "pydantic",
        "rich",
        "scipy",
        "sklearn",
        "tensorflow",
        "torch",
        "transformers",
    }
)

#: What to do about a plugin that is slow.
MORE_TIME = "give it more time: ESPER_PLUGIN_SECONDS=600"

Result = TypeVar("Result")

#: Modules that stand between a plugin and what went wrong.
_MACHINERY = ("esper_core.plugins.", "importlib", "_frozen_importlib")


#: A plugin's code may take this many seconds while it is imported and asked what it offers; `ESPER_PLUGIN_SECONDS`.
PLUGIN_SECONDS = 60.0


def quarantined(function: Callable[[], Result]) -> Result:
    """Run a plugin's code, and return what it returns.

    What it prints goes to stderr: the output of ``--json`` belongs to the program. It has a limited time, and cannot
    end the process by `os._exit` as Python knows it. What calls the operating system beside Python can.

    Raises:
        OverdueError: if it takes too long.
        SystemExit: for `os._exit`, with its status.
    """

    def run() -> Result:
        with redirect_stdout(sys.stderr), _no_exit():
            return function()

    return within(_seconds(), run)


def _seconds() -> float:
    try:
        return max(float(os.environ.get("ESPER_PLUGIN_SECONDS", PLUGIN_SECONDS)), 0.001)
    except ValueError:
        return PLUGIN_SECONDS


@contextmanager
def _no_exit() -> Iterator[None]:
    real, owner = os._exit, (os.getpid(), threading.get_ident())
    over: list[bool] = []

    def exit_here(status: int) -> NoReturn:
        # A child process, or another thread, may end as it likes; so may other code that has kept this function.
        if not over and (os.getpid(), threading.get_ident()) == owner:
            raise SystemExit(status)
        real(status)

    os._exit = exit_here
    try:
        yield
    finally:
        over.append(True)
        os._exit = real


def import_plugin(candidate: Candidate) -> ModuleType:
    """Import a plugin's module.

    Raises:
        EsperError: E101 to E105 and E108, whatever the module raised but KeyboardInterrupt.
    """
    _check_entry_point(candidate)
    try:
        return quarantined(candidate.load)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit at import is a real case
        raise explain_import(error, candidate.origin) from error


def explain_import(error: BaseException, origin: Origin) -> EsperError:
    """Say why a plugin's module could not be imported."""
    where = place(error, origin.module)
    without = f"run without it: --no-plugin {origin.plugin}"
    why = summary(error)
    if isinstance(error, OverdueError):
        what = f"{origin.title} takes too long to be imported"
        return EsperError("E108", what, where=where, why=str(error), fix=f"{MORE_TIME}, or {without}")
    if isinstance(error, SystemExit):
        what = f"{origin.title} tried to end the program while it was imported"
        why = f"SystemExit: {error.code}" if error.code is not None else "SystemExit"
        return EsperError("E105", what, where=where, why=why, fix=f"report it to its author, or {without}")
    if isinstance(error, SyntaxError):
        place_in_text = f"{error.filename}:{error.lineno}"
        what = f"{origin.title} has a syntax error"
        return EsperError("E104", what, where=place_in_text, why=f"{type(error).__name__}: {error.msg}", fix=without)
    if isinstance(error, ModuleNotFoundError) and error.name:
        if is_own_module(error.name, origin.module):
            what = f"{origin.title} names a module that does not exist"
            return EsperError("E103", what, where=where, why=why, fix=f"reinstall it, or {without}")
        what = f'{origin.title} needs the module "{error.name}", which is not installed'
        missing = error.name.partition(".")[0]
        fix = f"pip install {missing} (or what else provides it), or {without}"
        return EsperError("E102", what, where=where, why=why, fix=fix)
    return EsperError("E101", f"{origin.title} could not be imported", where=where, why=why, fix=without)


def is_own_module(missing: str, module: str) -> bool:
    """Say whether a missing module belongs to the plugin's own package, so that installing cannot help."""
    return missing.partition(".")[0] == module.partition(".")[0]


def place(error: BaseException, module: str) -> str | None:
    """Return file and line where an exception left the plugin's own code, else where it was raised."""
    frames = [(str(f.f_globals.get("__name__")), f, line) for f, line in _walk(error.__traceback__)]
    own = [(f, line) for name, f, line in frames if is_own_module(name, module)]
    foreign = [(f, line) for name, f, line in frames if not name.startswith(_MACHINERY)]
    if not (found := own or foreign):
        return None
    frame, line = found[-1]
    return f"{frame.f_code.co_filename}:{line}"


class HeavyImportWatch:
    """While it is entered, notes which heavy libraries are imported, and by which lines.

    It stands in front of `sys.meta_path` and finds nothing. A library that is imported already is not seen.
    """

    def __init__(self) -> None:
        self._asked: dict[str, str] = {}

    def __enter__(self) -> "HeavyImportWatch":
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find nothing, but note who asks."""
        if name in HEAVY:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_code.co_filename.startswith("<frozen"):
                frame = frame.f_back
            self._asked.setdefault(name, f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "")
        return None

    def warning(self, origin: Origin) -> EsperError | None:
        """Return E135 about the first library that a plugin really pulled in."""
        pulled = [(library, where) for library, where in self._asked.items() if library in sys.modules]
        if not pulled:
            return None
        library, where = pulled[0]
        package = origin.module.rpartition(".")[0] or "package"
        return EsperError(
            "E135",
            f"importing {origin.title} pulls in {library}",
            where=where,
            why="descriptors are imported by every command, also by those that list plugins",
            fix=f'import it in another module and name that one: factory="{package}.module:build"',
        )


def _check_entry_point(candidate: Candidate) -> None:
    """A plugin is a module, a kind an object in one."""
    origin, name = candidate.origin, candidate.origin.plugin.removeprefix("kind-")
    module, colon, attribute = origin.entry_point.strip().partition(":")
    parts = (*module.split("."), attribute) if candidate.is_kind else (*module.split("."), *attribute.split())
    if not origin.entry_point or (bool(colon) is candidate.is_kind and all(part.isidentifier() for part in parts)):
        return
    wanted, why, fix = (
        ("object in a module", "a kind is a PluginKind in a module", f'name both: {name} = "package.module:KIND"')
        if candidate.is_kind
        else ("module", "a plugin is a module", f'name the module alone: {name} = "{origin.module}"')
    )
    where = f'{name} = "{origin.entry_point}"'
    raise EsperError("E103", f"the entry point of {origin.title} is no {wanted}", where=where, why=why, fix=fix)


def _walk(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next
