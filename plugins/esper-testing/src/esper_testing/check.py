"""What a conformance check is: a named function over a component, and the failure that explains itself."""

from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from inspect import cleandoc
from pathlib import Path
from traceback import extract_tb
from typing import Any

from attrs import field, frozen

from esper_core.leyline.specs import Capability, ComponentSpec


class CheckLevel(IntEnum):
    """How much a check needs.

    Attributes:
        STATIC: descriptors only.
        CONTRACT: a few calls or forward passes.
        TRAINING: some optimizer steps.
        QUICK: another name for TRAINING: all that takes seconds.
        FULL: hundreds of calls, and processes of their own.
        PERF: quiet hardware.
    """

    STATIC = 1
    CONTRACT = 2
    TRAINING = 3
    QUICK = 3
    FULL = 4
    PERF = 5

    @property
    def title(self) -> str:
        """The name in lower case."""
        return self.name.lower()


class Scope(StrEnum):
    """What a check is for that is not about one kind of component: a plugin as a whole, or every component."""

    PLUGIN = "plugin"
    COMPONENT = "component"


class NotApplicable(Exception):  # noqa: N818 - it says that there is nothing to judge
    """A check finds nothing that it could judge here; the message says why."""


class CheckFailure(AssertionError):  # noqa: N818 - a failed check is a result, not an error
    """A component does not do what its contract says.

    Args:
        seen: what happened, with the values that show it.
        cause: the likely cause.
        fix: what to do about it.
    """

    def __init__(self, seen: str, *, cause: str, fix: str) -> None:
        super().__init__(f"{seen}\n  likely cause: {cause}\n  fix: {fix}")
        self.seen = seen
        self.cause = cause
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.seen, self.cause, self.fix))


def _rebuild(kind: type[CheckFailure], seen: str, cause: str, fix: str) -> CheckFailure:
    return kind(seen, cause=cause, fix=fix)


@frozen(kw_only=True)
class Check:
    """One check of the conformance suite.

    Attributes:
        id: unique; its kind and what it demands, joined by '-'.
        level: how much it needs.
        kind: the kind of component that it is for, or a wider scope.
        function: takes a subject (what is checked) and raises `CheckFailure`.
        since: plugin API version from which on components must pass.
        requires: capabilities that a component must declare for the check to apply.
        exempts: capabilities that excuse a component from the check.
        slow: it takes longer than a second or so.
        only: says why a component with this descriptor need not pass, None if it must.
    """

    id: str
    level: CheckLevel
    kind: str
    function: Callable[[Any], None] = field(repr=False)
    since: str = "1.0"
    requires: frozenset[Capability] = field(default=frozenset(), converter=frozenset)
    exempts: frozenset[Capability] = field(default=frozenset(), converter=frozenset)
    slow: bool = False
    only: Callable[[Any], str | None] = field(default=lambda spec: None, repr=False)

    @property
    def documentation(self) -> str:
        """The function's docstring: what is demanded and why."""
        return cleandoc(self.function.__doc__ or "")

    def applies_to(self, spec: ComponentSpec) -> bool:
        """Say whether a component has to pass this check."""
        return self.concerns(spec) and self.excuse(spec) is None

    def concerns(self, spec: ComponentSpec) -> bool:
        """Say whether the check is about components of this kind."""
        return self.kind in (spec.kind, Scope.COMPONENT)

    def excuse(self, spec: ComponentSpec, api: str | None = None) -> str | None:
        """Say why a component need not pass this check: by a capability, or by the API version that it was made for."""
        if api is not None and _version(api) < _version(self.since):
            return f"new in plugin API {self.since}; this plugin was made for {api}"
        if missing := self.requires - spec.capabilities:
            return f"for components that declare {', '.join(sorted(missing))}"
        if exempting := self.exempts & spec.capabilities:
            return f"it declares {', '.join(sorted(exempting))}"
        return self.only(spec)

    def __call__(self, subject: Any) -> None:
        """Run the check.

        Raises:
            CheckFailure: also where the component raises anything itself.
            NotApplicable: if there is nothing to judge.
        """
        try:
            self.function(subject)
        except (CheckFailure, NotApplicable):
            raise
        except Exception as error:
            raise CheckFailure(
                f"{type(error).__name__}: {error}{_place(error)}",
                cause="the component raised where its contract lets it not",
                fix="mend that place, so that: " + self.documentation.partition("\n")[0],
            ) from error


def _place(error: Exception) -> str:
    """Where an exception comes from: the deepest frame that is neither Esper's nor of a library below the plugin."""
    if isinstance(error, SyntaxError):  # says so itself
        return ""
    frames = extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not {"esper_core", "torch", "importlib"} & {*Path(frame.filename).parts}]
    frame = next((frame for frame in reversed(theirs) if not frame.filename.startswith("<")), frames[-1])
    return f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})"


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def check(id: str, kind: str, level: CheckLevel, **fields: Any) -> Callable[[Callable[[Any], None]], Check]:
    """Make a function a `Check`; its docstring is the check's documentation.

    Raises:
        ValueError: if the function has no docstring.
    """

    def decorate(function: Callable[[Any], None]) -> Check:
        if not function.__doc__:
            raise ValueError(f"check {id} needs a docstring: it is the check's documentation")
        return Check(id=id, kind=kind, level=level, function=function, **fields)

    return decorate


def collect(namespace: Mapping[str, Any]) -> tuple[Check, ...]:
    """Return the checks among a module's globals in order of definition.

    Raises:
        ValueError: if two have the same id.
    """
    checks = tuple(value for value in namespace.values() if isinstance(value, Check))
    ids = [check.id for check in checks]
    if duplicates := {id for id in ids if ids.count(id) > 1}:
        raise ValueError(f"check ids must be unique: {', '.join(sorted(duplicates))}")
    return checks
