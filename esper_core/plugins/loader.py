"""From installed distributions to a frozen set of plugins: one that is broken never takes the others along."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter
from types import ModuleType

from attrs import evolve
from pluggy import PluginManager

from esper_core.leyline.deprecation import DEPRECATIONS
from esper_core.leyline.errors import EsperError
from esper_core.leyline.kinds import PluginKind
from esper_core.plugins.calling import Implementation, implementations
from esper_core.plugins.collect import collect
from esper_core.plugins.compat import check_api, check_protocols, check_required_plugins, check_requirements
from esper_core.plugins.deprecations import deprecated_uses, without_gone
from esper_core.plugins.discovery import Candidate, from_file, installed_plugins
from esper_core.plugins.installed import scan
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.offered_kinds import kind_in
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.quarantine import HeavyImportWatch, import_plugin
from esper_core.plugins.records import FAILED_STATES, PluginRecord, Registered, Status
from esper_core.plugins.registry import Registry
from esper_core.plugins.requirements import InstalledVersions
from esper_core.plugins.selection import Choice, Selection, choose
from esper_core.plugins.verify import Found, find_hooks, hook_arguments, new_manager, verify


def load_plugins(
    selection: Selection | None = None, *, sources: Sequence[Candidate] | None = None, tolerant: bool = False
) -> PluginSet:
    """Find, choose, check, import, verify and ask plugins.

    Args:
        selection: which ones; default: all that are installed and compatible.
        sources: candidates to choose from instead of the installed distributions.
        tolerant: leave what is wrong with plugins that were asked for in their records, instead of raising it.

    Raises:
        EsperError: E150 for an unknown name, E106 for an unreadable plugin file. Unless `tolerant`: what is wrong with
            a plugin that was asked for by name (with a strict selection: with any), and E123.
    """
    selection = selection or Selection()
    installed = scan()
    found = installed_plugins(installed) if sources is None else tuple(sources)
    attempts = [
        _Attempt(choice) for choice in choose((*found, *map(from_file, dict.fromkeys(selection.paths))), selection)
    ]
    versions = InstalledVersions(installed)
    kinds = _load_kinds(attempts, versions)
    manager = new_manager(kinds)
    hooks = hook_arguments(kinds)
    for attempt in attempts:
        if not attempt.candidate.is_kind:
            attempt.load(versions, partial(attempt.take_hooks, manager, hooks))
    _register(attempts, manager)
    components = _collect(attempts, manager, kinds)
    records = tuple(attempt.record() for attempt in attempts)
    if not tolerant:
        _raise_problems(attempts, strict=selection.strict)
        check_required_plugins(selection.requires, records, versions)
    return PluginSet(
        records=records,
        registry=Registry.of_components(components, [r for r in records if r.status is not Status.ACTIVE], kinds),
        named=frozenset(attempt.origin.plugin for attempt in attempts if _observes(attempt, selection)),
        observers_of_all=selection.observers_of_all,
        manager=manager,
    )


class _Attempt:
    """A plugin on its way to a record."""

    def __init__(self, choice: Choice) -> None:
        self.candidate = choice.candidate
        self.origin = choice.candidate.origin
        self.status = choice.status or Status.ACTIVE
        self.named = choice.named
        self.problems = [choice.problem] if choice.problem else []
        self.module: ModuleType | None = None
        self.hooks = Found({}, ())
        self.kind: PluginKind | None = None
        self.api: str | None = None
        self.components: list[Registered] = []
        self.seconds: float | None = None

    def load(self, versions: InstalledVersions, take: Callable[[ModuleType], None]) -> None:
        """Check and import it, unless it is left out, and take what its module offers."""
        if self.status is not Status.ACTIVE:
            return
        if problem := self.candidate.problem:
            self.fail(Status.BROKEN, problem)
            return
        if unmet := check_requirements(self.candidate, versions):
            self.fail(Status.INCOMPATIBLE, unmet)
            return
        begin = perf_counter()
        try:
            self._import(take)
        except EsperError as error:
            self.fail(Status.BROKEN, error)
        self.seconds = perf_counter() - begin

    def _import(self, take: Callable[[ModuleType], None]) -> None:
        with HeavyImportWatch() as watch:
            self.module = import_plugin(self.candidate)
        self.origin = evolve(self.origin, file=vars(self.module).get("__file__"))
        self.api, mismatch = check_api(vars(self.module).get("ESPER_API"), self.origin)
        if mismatch and mismatch.code == "E121":
            self.fail(Status.INCOMPATIBLE, mismatch)
            return
        take(self.module)
        if mismatch:
            self.problems.append(mismatch)
        # A file that somebody wrote for this run may well be a plugin and its substance in one.
        if not self.candidate.by_path and (heavy := watch.warning(self.origin)):
            self.problems.append(heavy)

    def take_hooks(self, manager: PluginManager, known: Mapping[str, tuple[str, ...]], module: ModuleType) -> None:
        """Find and verify the hook implementations of its module."""
        self.hooks, warnings = without_gone(find_hooks(module, manager), self.origin)
        self.problems += warnings
        if (changed := check_protocols(self.api, self.origin, self.hooks.implementations)) is not None:
            self.fail(Status.INCOMPATIBLE, changed)
        elif wrong := verify(self.hooks, self.origin, known):
            self.fail(Status.BROKEN, *wrong)

    def take_kind(self, kinds: list[PluginKind], module: ModuleType) -> None:
        """Find the kind that it adds, and add it to those that are known."""
        self.kind = kind_in(module, self.origin, kinds)
        kinds.append(self.kind)

    def fail(self, status: Status, *problems: EsperError) -> None:
        """Take it out: what is wrong now goes before warnings."""
        self.status = status
        self.components.clear()
        self.problems[:0] = problems

    def record(self) -> PluginRecord:
        """Freeze it."""
        return PluginRecord(
            status=self.status,
            origin=self.origin,
            hooks=tuple(self.hooks.implementations),
            components=tuple(self.components),
            problems=tuple(self.problems),
            load_ms=None if self.seconds is None else round(self.seconds * 1e3, 3),
            api=self.api,
            kind=self.kind,
        )


def _load_kinds(attempts: Iterable[_Attempt], versions: InstalledVersions) -> tuple[PluginKind, ...]:
    """Before any plugin is verified: a kind's hook is unknown without it."""
    kinds = [*KINDS]
    for attempt in attempts:
        if attempt.candidate.is_kind:
            attempt.load(versions, partial(attempt.take_kind, kinds))
    return tuple(kinds)


def _register(attempts: Iterable[_Attempt], manager: PluginManager) -> None:
    """Register what is sound. pluggy calls the last one first, so the first in call order goes last."""
    owners: dict[int, _Attempt] = {}
    for attempt in attempts:
        if attempt.status is Status.ACTIVE and not attempt.candidate.is_kind:
            owner = owners.setdefault(id(attempt.module), attempt)
            if owner is not attempt:
                attempt.fail(Status.DUPLICATE, _same_module(attempt, owner))
    for attempt in reversed(owners.values()):
        name = attempt.origin.plugin
        manager.register(attempt.hooks.as_plugin(name), name)


def _same_module(attempt: _Attempt, owner: _Attempt) -> EsperError:
    what = f"{attempt.origin.title} is the same module as {owner.origin.title}"
    return EsperError("E110", what, where=attempt.origin.file, fix="keep one of the two entry points")


def _collect(attempts: Iterable[_Attempt], manager: PluginManager, kinds: Iterable[PluginKind]) -> list[Registered]:
    """Ask every registered plugin for its descriptors; one that fails is taken out whole."""
    by_name = {it.origin.plugin: it for it in attempts if it.status is Status.ACTIVE and not it.candidate.is_kind}
    origins = {name: attempt.origin for name, attempt in by_name.items()}
    collected: list[Registered] = []
    for kind in kinds:
        for implementation in implementations(manager, kind.hook, origins):
            attempt = by_name[implementation.origin.plugin]
            if attempt.status is Status.ACTIVE:
                collected += _ask(attempt, kind, implementation)
    for attempt in by_name.values():
        if attempt.status is not Status.ACTIVE:
            manager.unregister(name=attempt.origin.plugin)
        else:
            specs = [registered.spec for registered in attempt.components]
            attempt.problems += deprecated_uses(attempt.hooks, specs, attempt.origin, DEPRECATIONS)
    return [registered for registered in collected if by_name[registered.origin.plugin].status is Status.ACTIVE]


def _ask(attempt: _Attempt, kind: PluginKind, implementation: Implementation) -> tuple[Registered, ...]:
    begin = perf_counter()
    try:
        offered = collect(kind, implementation)
    except EsperError as error:
        attempt.fail(Status.BROKEN, error)
        return ()
    attempt.seconds = (attempt.seconds or 0.0) + perf_counter() - begin
    attempt.components += offered
    return offered


def _observes(attempt: _Attempt, selection: Selection) -> bool:
    return attempt.named and (selection.observing is None or attempt.origin.plugin in selection.observing)


def _raise_problems(attempts: Iterable[_Attempt], *, strict: bool) -> None:
    for attempt in attempts:
        if attempt.status in FAILED_STATES and (strict or attempt.named):
            raise attempt.problems[0]
