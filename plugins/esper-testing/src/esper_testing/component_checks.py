"""What every component must be, whatever its kind: described, resolvable, with options that hold, built quietly."""

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import attrs

from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain
from esper_core.leyline.specs import BlueprintSpec, HostSpec
from esper_core.leyline.structure import structure
from esper_testing.check import Check, CheckFailure, CheckLevel, Scope, check, collect
from esper_testing.subject import Subject, resolved
from esper_testing.surroundings import TORCH_RANDOM, watched

#: Kinds whose factories draw initial values from torch's generator.
DRAWING = (HostSpec.kind, BlueprintSpec.kind)


@check("component-summary", Scope.COMPONENT, CheckLevel.STATIC)
def summary(subject: Subject[Any]) -> None:
    """The descriptor says in one line what the component is; listings have no room for more."""
    text = subject.spec.summary
    if not text.strip() or "\n" in text or len(text) > 120:
        raise CheckFailure(
            f"the summary of {subject.spec.name} is {text!r}",
            cause="an empty text, several lines, or more than 120 characters",
            fix="write one sentence; the README has room for the rest",
        )


@check("component-resolves", Scope.COMPONENT, CheckLevel.STATIC)
def resolves(subject: Subject[Any]) -> None:
    """The factory can be imported and called, and the options class is an attrs class."""
    spec = subject.spec
    try:
        factory, options = resolved(spec.factory), resolved(spec.config)
    except (ImportError, AttributeError) as error:
        raise CheckFailure(
            f"{spec.name}: {type(error).__name__}: {error}",
            cause="a slip in an import string, or a library that is not installed",
            fix='write "package.module:attribute"; list under `dependencies` what the module imports',
        ) from error
    if not callable(factory) or (options is not None and not (isinstance(options, type) and attrs.has(options))):
        raise CheckFailure(
            f"{spec.name}: the factory is {factory!r}, the options class {options!r}",
            cause="an import string that names something else",
            fix="name a class or function as factory, and a class decorated with attrs.frozen as config",
        )


@check("component-options", Scope.COMPONENT, CheckLevel.STATIC)
def options(subject: Subject[Any]) -> None:
    """Every option has a valid default, and options survive the way through a configuration file.

    A run's manifest holds the options as plain data, from which the same options must come again.
    """
    cls = resolved(subject.spec.config)
    if cls is None:
        return
    lacking = [a.name for a in attrs.fields(cls) if a.init and a.default is attrs.NOTHING]
    if lacking:
        raise CheckFailure(
            f"{subject.spec.name}: no default for {', '.join(lacking)}",
            cause="an option that somebody would have to set",
            fix="give every option a default: a component must work when it is only named",
        )
    for config in (cls(), subject.config):
        _check_round_trip(subject.spec.name, cls, config)


def _check_round_trip(name: str, cls: type, config: Any) -> None:
    try:
        written = {a.name: plain(getattr(config, a.name)) for a in attrs.fields(cls) if a.init}
        again: Any = structure(cls, {key: value for key, value in written.items() if value is not None})
    except (EsperError, TypeError) as error:
        raise CheckFailure(
            f"{name}: its options cannot be written down and read again: {error}",
            cause="a type that has no plain form, or a default that its own validator or annotation refuses",
            fix="use numbers, text, booleans, enums, lists and tables of these, and annotate them truly",
        ) from error
    if again != config:
        raise CheckFailure(
            f"{name}: {config} became {again} on the way through plain data",
            cause="a converter that is not a fixed point, or a class that cannot be compared",
            fix="decorate it with attrs.frozen, and make converters take what they return",
        )


@check("component-build-pure", Scope.COMPONENT, CheckLevel.CONTRACT)
def build_pure(subject: Subject[Any]) -> None:
    """Building the component prints nothing and changes nothing shared.

    That is: working directory, environment, warning filters, root logger, threads, torch's default dtype and number of
    threads, and global random generators, but that hosts and blueprints draw initial values from torch's.
    """
    resolved(subject.spec.factory)
    allowed = (TORCH_RANDOM,) if subject.spec.kind in DRAWING else ()
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed), watched(allowed) as changed:
        subject.build_any()
    if changed:
        raise CheckFailure(
            f"building {subject.spec.name} changed {', '.join(changed)}",
            cause="a call that configures the process: seeding, set_default_dtype, os.environ, basicConfig, chdir",
            fix="work on objects of the component's own: a generator, a logger, absolute paths",
        )
    if text := printed.getvalue().strip():
        raise CheckFailure(
            f"building {subject.spec.name} printed {text.splitlines()[0]!r}",
            cause="a print that was left in, or a warning",
            fix="take it out, or log it",
        )


#: The checks of this module in order.
COMPONENT_CHECKS: tuple[Check, ...] = collect(globals())
