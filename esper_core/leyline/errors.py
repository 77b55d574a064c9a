"""Errors that say what happened, where, why, and how to fix it."""

from collections.abc import Iterable, Mapping
from enum import IntEnum

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


#: Every error code with its one-line meaning and the exit code that it leads to. One page each in the docs.
CODES: Mapping[str, tuple[str, ExitCode]] = {
    # E1xx: plugins
    "E101": ("a plugin could not be imported", ExitCode.PLUGIN),
    "E102": ("a plugin needs a module that is not installed", ExitCode.PLUGIN),
    "E103": ("a plugin's entry point leads nowhere", ExitCode.PLUGIN),
    "E104": ("a plugin has a syntax error", ExitCode.PLUGIN),
    "E105": ("a plugin tried to end the program while it was imported", ExitCode.PLUGIN),
    "E106": ("a plugin file cannot be read", ExitCode.USAGE),
    "E107": ("the metadata of an installed distribution cannot be read", ExitCode.PLUGIN),
    "E108": ("a plugin takes too long to be imported", ExitCode.PLUGIN),
    "E110": ("two distributions provide the same plugin name", ExitCode.PLUGIN),
    "E111": ("a component name is ambiguous", ExitCode.USAGE),
    "E112": ("a plugin offers two components of one kind under the same name", ExitCode.PLUGIN),
    "E120": ("a plugin's requirements are not met", ExitCode.PLUGIN),
    "E121": ("a plugin speaks another version of the plugin API", ExitCode.PLUGIN),
    "E122": ("a plugin does not declare its plugin API version", ExitCode.PLUGIN),
    "E123": ("a plugin that the configuration requires is not there", ExitCode.PLUGIN),
    "E124": ("a plugin uses something that the plugin API no longer has, or will lose soon", ExitCode.PLUGIN),
    "E131": ("a plugin implements a hook that does not exist", ExitCode.PLUGIN),
    "E132": ("a hook implementation asks for an argument that does not exist", ExitCode.PLUGIN),
    "E133": ("a hook implementation is a wrapper", ExitCode.PLUGIN),
    "E134": ("a function is named like a hook but not marked as one", ExitCode.PLUGIN),
    "E135": ("importing a plugin pulls in a heavy library", ExitCode.PLUGIN),
    "E141": ("a plugin's hook raised an exception", ExitCode.PLUGIN),
    "E142": ("a plugin's hook returned something other than descriptors", ExitCode.PLUGIN),
    "E143": ("a distribution adds something that is not a kind of component", ExitCode.PLUGIN),
    "E150": ("a plugin name is not known", ExitCode.USAGE),
    "E151": ("the plugin selection contradicts itself", ExitCode.USAGE),
    "E160": ("a component's factory or options class cannot be loaded", ExitCode.PLUGIN),
    "E161": ("a component cannot run here", ExitCode.PLUGIN),
    "E170": ("the plugins are not those that are locked", ExitCode.LOCK_MISMATCH),
    "E171": ("a plugin lock cannot be read", ExitCode.USAGE),
    "E172": ("a plugin lock has another format", ExitCode.USAGE),
    "E173": ("a plugin lock cannot be written", ExitCode.USAGE),
    "E180": ("a new plugin cannot have this name", ExitCode.USAGE),
    "E181": ("a new plugin cannot be written here", ExitCode.USAGE),
    "E190": ("a distribution that this command needs is not installed", ExitCode.PLUGIN),
    "E191": ("a subcommand cannot be loaded", ExitCode.PLUGIN),
    "E192": ("two distributions offer the same subcommand", ExitCode.PLUGIN),
    "E193": ("there is no such subcommand", ExitCode.USAGE),
    # E2xx: configuration and command line
    "E201": ("a configuration key is not known", ExitCode.USAGE),
    "E202": ("a configuration value is not valid", ExitCode.USAGE),
    "E203": ("a configuration file cannot be read", ExitCode.USAGE),
    "E204": ("a component name is not known", ExitCode.USAGE),
    "E205": ("a configuration file cannot be written", ExitCode.USAGE),
    # E3xx: tasks and data
    "E301": ("the data of a task cannot be found", ExitCode.DATA),
    "E302": ("the data of a task is damaged or not as expected", ExitCode.DATA),
    # E4xx: hosts, sites, slots and seeds
    "E401": ("a site cannot carry a slot", ExitCode.USAGE),
    "E402": ("the host network cannot be grown", ExitCode.USAGE),
    "E403": ("a lifecycle transition is not allowed", ExitCode.FAILED),
    "E404": ("a blueprint cannot be built for a site", ExitCode.USAGE),
    "E405": ("a learning-rate scheduler cannot follow growing parameter groups", ExitCode.USAGE),
    "E406": ("a parameter group of a seed does not fit the optimizer", ExitCode.FAILED),
    "E407": ("a fossilized seed has failed", ExitCode.FAILED),
    # E5xx: runs
    "E501": ("the run directory cannot be written", ExitCode.USAGE),
    "E502": ("a saved state does not fit", ExitCode.FAILED),
    "E503": ("a reward term broke its contract", ExitCode.FAILED),
    "E504": ("a telemetry sink failed", ExitCode.FAILED),
    "E505": ("there is no such run, or no such host in it", ExitCode.USAGE),
    "E506": ("a run cannot be resumed", ExitCode.USAGE),
    "E507": ("a network with live seeds cannot be exported", ExitCode.USAGE),
    "E508": ("a run's files are damaged or not as expected", ExitCode.FAILED),
    "E509": ("a checkpoint is damaged", ExitCode.FAILED),
    "E510": ("a checkpoint was written by a newer Esper", ExitCode.USAGE),
    "E511": ("a run's plugins have changed since it began", ExitCode.PLUGIN),
    "E512": ("a network cannot be exported in this form", ExitCode.USAGE),
    "E513": ("an exported file cannot be written", ExitCode.USAGE),
    "E514": ("a run is in use by another process", ExitCode.USAGE),
    "E515": ("a run's configuration has changed since it began", ExitCode.USAGE),
    "E516": ("a run's files cannot be written any more", ExitCode.FAILED),
    "E517": ("a saved policy cannot be read", ExitCode.USAGE),
    "E518": ("a run cannot be repeated exactly", ExitCode.FAILED),
    "E520": ("a run has no such slot, seed or epoch", ExitCode.USAGE),
    "E530": ("a plugin broke its contract in a run", ExitCode.FAILED),
    "E540": ("every host of a run has failed", ExitCode.FAILED),
    "E541": ("the processes in which hosts run cannot be started", ExitCode.FAILED),
    # E6xx: messages between processes
    "E601": ("a record cannot be written as a message", ExitCode.FAILED),
    "E602": ("a message cannot be read", ExitCode.FAILED),
    "E611": ("a bus does not answer", ExitCode.FAILED),
    "E612": ("the state directory or its keys cannot be used", ExitCode.USAGE),
    "E613": ("a stream of a bus is full", ExitCode.FAILED),
    "E614": ("a bus does not keep messages as it was asked to", ExitCode.USAGE),
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
