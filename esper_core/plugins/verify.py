"""Check a plugin's hook implementations against the specifications, before any of them is called."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple, TypeAlias

from pluggy import HookimplOpts, PluginManager

from esper_core.hooks import PROJECT, SPECIFICATIONS, hooks_of
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.kinds import PluginKind
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.records import Origin

#: Functions of a plugin with this prefix are hooks, or mistakes.
PREFIX = f"{PROJECT}_"

#: What pluggy takes for an implementation.
Function: TypeAlias = "FunctionType | MethodType | staticmethod[..., Any]"


def specifications(kinds: Iterable[PluginKind] = KINDS) -> tuple[type, ...]:
    """Return the classes that specify hooks: the core's, and those of further kinds."""
    return tuple(dict.fromkeys([*SPECIFICATIONS, *(kind.specification for kind in kinds)]))


def new_manager(kinds: Iterable[PluginKind] = KINDS) -> PluginManager:
    """Return a plugin manager that knows the hook specifications and no plugin."""
    manager = PluginManager(PROJECT)
    for specification in specifications(kinds):
        manager.add_hookspecs(specification)
    return manager


def hook_arguments(kinds: Iterable[PluginKind] = KINDS) -> Mapping[str, tuple[str, ...]]:
    """Return the arguments of every hook by the hook's name."""
    return {
        hook: argument_names(getattr(specification, hook))[1:]
        for specification in specifications(kinds)
        for hook in hooks_of(specification)
    }


def argument_names(function: Function) -> tuple[str, ...]:
    """Return the names of a function's parameters."""
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        # The usual case, for which `inspect` takes a hundred times as long.
        code = function.__code__
        if not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
            return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return tuple(inspect.signature(function).parameters)


class Found(NamedTuple):
    """What a plugin's module holds.

    Attributes:
        implementations: marked functions with the options of the mark, by the name of the hook that they are for.
        unmarked: functions of the module's own that are named like a hook and not marked.
    """

    implementations: Mapping[str, tuple[Function, HookimplOpts]]
    unmarked: Sequence[Function]

    def as_plugin(self, name: str) -> ModuleType:
        """Return the implementations alone, to be registered: what was verified and nothing else."""
        plugin = ModuleType(name)
        vars(plugin).clear()  # pluggy looks at every name
        vars(plugin).update({hook: function for hook, (function, _) in self.implementations.items()})
        return plugin


def find_hooks(module: ModuleType, manager: PluginManager) -> Found:
    """Find a module's hook implementations, and what was probably meant to be one."""
    implementations: dict[str, tuple[Function, HookimplOpts]] = {}
    unmarked: list[Function] = []
    for name, value in list(vars(module).items()):
        if not isinstance(value, FunctionType | MethodType | staticmethod):
            continue
        options = manager.parse_hookimpl_opts(module, name)
        if options is not None:
            implementations[options.get("specname") or name] = (value, options)
        elif name.startswith(PREFIX) and value.__module__ == module.__name__:
            unmarked.append(value)
    return Found(implementations, unmarked)


def verify(found: Found, origin: Origin, known: Mapping[str, tuple[str, ...]] | None = None) -> tuple[EsperError, ...]:
    """Return everything that is wrong with a module's hooks.

    Args:
        found: its hooks.
        origin: the plugin.
        known: the arguments of every hook; default: of those that the core specifies.

    Returns:
        E131 for an unknown hook, E132 for an unknown argument, E133 for a wrapper, E134 for a function that is named
        like a hook and not marked as one.
    """
    known = hook_arguments() if known is None else known
    problems: list[EsperError] = []
    for hook, (function, options) in found.implementations.items():
        if hook not in known:
            if not options["optionalhook"]:
                problems.append(_unknown_hook(hook, function, origin, known))
            continue
        problems += _unknown_arguments(hook, function, origin, known[hook])
        if options["wrapper"] or options["hookwrapper"]:
            problems.append(_wrapper(hook, function, origin))
    problems += [_unmarked(function, origin, known) for function in found.unmarked]
    return tuple(problems)


def _unknown_hook(hook: str, function: Function, origin: Origin, known: Mapping[str, tuple[str, ...]]) -> EsperError:
    what = f'{origin.title} implements the hook "{hook}", which does not exist'
    return EsperError("E131", what, where=_line(function), fix=did_you_mean(hook, known))


def _unknown_arguments(hook: str, function: Function, origin: Origin, known: tuple[str, ...]) -> Iterator[EsperError]:
    for argument in argument_names(function):
        if argument not in known:
            what = f'"{hook}" in {origin.title} asks for the argument "{argument}"'
            why = f"the hook has {', '.join(known)}" if known else "the hook has no arguments"
            fix = did_you_mean(argument, known) if known else "take it out"
            yield EsperError("E132", what, where=_line(function), why=why, fix=fix)


def _wrapper(hook: str, function: Function, origin: Origin) -> EsperError:
    return EsperError(
        "E133",
        f'"{hook}" in {origin.title} is a wrapper',
        where=_line(function),
        why="what one plugin registers or observes is not for another one to change",
        fix="use @hookimpl without wrapper=True or hookwrapper=True",
    )


def _unmarked(function: Function, origin: Origin, known: Mapping[str, tuple[str, ...]]) -> EsperError:
    name = function.__name__
    is_hook = name in known
    return EsperError(
        "E134",
        f'"{name}" in {origin.title} has no @hookimpl, so it would never be called',
        where=_line(function),
        why=None if is_hook else f'names that begin with "{PREFIX}" are for hooks; {did_you_mean(name, known)}',
        fix="put @hookimpl above it" if is_hook else "put @hookimpl above it under the right name, or rename it",
    )


def _line(function: Function) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
