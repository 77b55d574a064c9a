"""Errors that say what happened, where, why, and how to fix it."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from pkgutil import get_data

from esper_core.leyline.printable import printable

#: No part of an error is printed beyond this: a value from a file can be as long as the file.
_LONGEST = 4_000


class ExitCode(IntEnum):
    """What the ``esper`` command returns to the shell; `esper_app.exit_codes` says what each one means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    LOCK_MISMATCH = 3
    PLUGIN = 4
    DATA = 5
    WENT_WRONG = 6
    SINKS = 7
    INTERNAL = 70
    INTERRUPTED = 130


#: Every error code, its meaning in one line, and the exit code that it leads to. One page each in the docs. They begin
#: with E1 for plugins, E2 configuration and commands, E3 tasks and data, E4 hosts and seeds, E5 runs, E6 services.
CODES: Mapping[str, tuple[str, ExitCode]] = {
    code: (meaning, ExitCode[exit_code])
    for code, exit_code, meaning in (
        line.split(" ", 2) for line in (get_data(__name__, "error_codes.txt") or b"").decode().splitlines()
    )
}


class EsperError(Exception):
    """An error with a code from `CODES`.

    Args:
        code: a key of `CODES`.
        what: what happened, one sentence.
        where: the place: a file and line, a plugin, a path in the configuration.
        why: the cause, one line.
        fix: what to do about it.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        where: str | None = None,
        why: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.code = code
        self.what = what
        self.where = where
        self.why = why
        self.fix = fix
        self.exit_code = CODES[code][1]
        super().__init__(what)

    def __str__(self) -> str:
        said = ("  at", self.where), ("  because", self.why), ("  fix:", self.fix)
        lines = [(f"error[{self.code}]", self.what), *((lead, text) for lead, text in said if text)]
        return "\n".join(f"{lead} {_shown(text)}" for lead, text in lines)

    def __reduce__(self) -> tuple[object, ...]:
        fields = {"where": self.where, "why": self.why, "fix": self.fix}
        return (_rebuild, (type(self), self.code, self.what, fields))


def _shown(text: str) -> str:
    """Return a part of an error as it may be printed: a line of somebody else's is no line of Esper's."""
    return printable(text[:_LONGEST]).replace("\n", "\n    ")


def _rebuild(kind: type[EsperError], code: str, what: str, fields: dict[str, str | None]) -> EsperError:
    return kind(code, what, **fields)


def summary(error: BaseException, longest: int = 500) -> str:
    """Return type and first line of the message of any exception, as text that can be printed and stored."""
    try:
        text = str(error).strip().partition("\n")[0]
    except (Exception, SystemExit):  # the text is somebody else's code, too
        text = ""
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    # A lone surrogate cannot be written to a file or a terminal.
    told = told.encode("utf-8", "backslashreplace").decode()
    return told if len(told) <= longest else f"{told[:longest]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` for the nearest known name, else the list of what is known."""
    # Imported here: it costs as much as everything else that errors need, at every start.
    from difflib import get_close_matches

    names = sorted(known)
    if near := get_close_matches(name, names, n=1, cutoff=0.6):
        return f'did you mean "{near[0]}"?'
    return f"known: {', '.join(names)}" if names else "none is known"
