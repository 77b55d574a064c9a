"""What a plugin must be as a whole: named by the rules, declared, light, and without effects on import."""

import re

from esper_core.leyline.errors import EsperError
from esper_core.plugins.installed import canonical
from esper_core.plugins.records import Status
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, Scope, check, collect
from esper_testing.plugin_subject import ImportReport, PluginSubject

#: How long importing a descriptor module may take, in seconds; thirty plugins are imported by every command.
IMPORT_SECONDS = 0.02


@check("plugin-loads", Scope.PLUGIN, CheckLevel.STATIC)
def loads(subject: PluginSubject) -> None:
    """The loader takes the plugin: it can be imported, its requirements are met, its hooks exist and are marked."""
    record = subject.record
    if record.status is not Status.ACTIVE:
        problem = record.problems[0] if record.problems else None
        raise CheckFailure(
            f"{record.origin.title} is {record.status}{_said(problem)}",
            cause=(problem and problem.why) or "see the error above",
            fix=(problem and problem.fix) or f"esper plugins info {subject.name}",
        )


def _said(problem: EsperError | None) -> str:
    return f": {problem.what} [{problem.code}]" if problem else ""


@check("plugin-offers", Scope.PLUGIN, CheckLevel.STATIC)
def offers(subject: PluginSubject) -> None:
    """The plugin implements at least one hook, and its registration hooks return something."""
    record = subject.record
    if record.status is Status.ACTIVE and not record.kinds:
        raise CheckFailure(
            f"{record.origin.title} offers nothing; hooks: {', '.join(record.hooks) or 'none'}",
            cause="no function with @hookimpl in the module that the entry point names, or one that yields nothing",
            fix="define the hooks in that module, such as `esper_blueprints`, and yield descriptors",
        )


@check("plugin-names", Scope.PLUGIN, CheckLevel.STATIC)
def names(subject: PluginSubject) -> None:
    """The distribution is called ``esper-<family>-<name>``, and its entry point alike without ``esper-``.

    People look for plugins by these names, and error messages suggest them. A distribution with several entry points
    may extend the name for each.
    """
    origin = subject.record.origin
    if not origin.distribution:
        raise NotApplicable("it is a file, not a distribution")
    distribution = canonical(origin.distribution)
    if not re.fullmatch(r"esper(-[a-z0-9]+)+", distribution):
        raise CheckFailure(
            f'the distribution is called "{origin.distribution}"',
            cause="a name that does not say that it is a plugin for Esper",
            fix=f"call it esper-<family>-<name>; families: {', '.join(sorted(_families(subject)))}, adapter, app",
        )
    if subject.record.kind:  # its entry point is called as the kind is, whatever the distribution is called
        return
    expected, called = distribution.removeprefix("esper-"), origin.plugin
    if called != expected and not called.startswith(f"{expected}-"):
        raise CheckFailure(
            f'the entry point of {origin.distribution} is called "{origin.plugin}"',
            cause="a name of its own for what is one thing",
            fix=f'[project.entry-points.esper] {expected} = "{origin.module}"',
        )
    _check_family(distribution, {spec.kind for spec in subject.specs}, _families(subject))


def _families(subject: PluginSubject) -> dict[str, set[str]]:
    """The families with their kinds."""
    found: dict[str, set[str]] = {}
    for kind in subject.kinds:
        found.setdefault(kind.family, set()).add(kind.name)
    return found


def _check_family(distribution: str, kinds: set[str], known: dict[str, set[str]]) -> None:
    families = {family for family, of_family in known.items() if of_family & kinds}
    family = distribution.split("-")[1]
    if len(families) == 1 and family in known and families != {family}:
        (right,) = families
        raise CheckFailure(
            f"{distribution} offers nothing of the family its name claims, but {', '.join(sorted(kinds))}",
            cause="a copied project file",
            fix=f"call it esper-{right}-{distribution.partition(f'{family}-')[2] or '<name>'}",
        )


@check("plugin-api-declared", Scope.PLUGIN, CheckLevel.STATIC)
def api_declared(subject: PluginSubject) -> None:
    """The plugin's module declares the plugin API version that it was written for: ``ESPER_API = "2.0"``."""
    for problem in subject.record.problems:
        if problem.code in {"E121", "E122"}:
            raise CheckFailure(
                problem.what,
                cause=problem.why or "it was written for another Esper",
                fix=problem.fix or 'add ESPER_API = "2.0"',
            )


def _imported(subject: PluginSubject) -> ImportReport:
    report = subject.descriptor_import
    if report.error:
        raise CheckFailure(
            f"importing it in a fresh process failed: {report.error.splitlines()[-1]}",
            cause="it needs something that only the process at hand has, or it is broken",
            fix="import it with `python -c`, and mend what the traceback says",
        )
    return report


@check("plugin-light", Scope.PLUGIN, CheckLevel.STATIC)
def light(subject: PluginSubject) -> None:
    """Importing the plugin's module imports neither torch nor another heavy library.

    Descriptors are imported by every command, also by one that lists thirty plugins or prints a help text. A plugin in
    a single file is excused: its substance is in the same module.
    """
    if not subject.record.origin.entry_point:
        raise NotApplicable("a single file holds descriptors and substance in one")
    if heavy := _imported(subject).heavy:
        raise CheckFailure(
            f"importing {subject.record.origin.module} imports {', '.join(heavy)}",
            cause="an import at the top of plugin.py or config.py, or of something that they import",
            fix='import it in another module, and name that one: factory="package.module:build"',
        )


@check("plugin-quiet", Scope.PLUGIN, CheckLevel.STATIC)
def quiet(subject: PluginSubject) -> None:
    """Importing the plugin's module prints nothing: output belongs to the commands, which may be writing JSON."""
    if output := _imported(subject).output:
        raise CheckFailure(
            f"importing it printed {output.splitlines()[0]!r}",
            cause="a print, or a warning that is raised at import",
            fix="log from functions instead; take the print out",
        )


@check("plugin-import-pure", Scope.PLUGIN, CheckLevel.STATIC)
def import_pure(subject: PluginSubject) -> None:
    """Importing the plugin's module changes nothing that it shares with others.

    That is: working directory, environment, warning filters, root logger, threads, global random generators.
    """
    _expect_unchanged("importing it", _imported(subject).changed)


@check("plugin-factories-pure", Scope.PLUGIN, CheckLevel.CONTRACT, slow=True)
def factories_pure(subject: PluginSubject) -> None:
    """Importing the modules of factories and options works in a fresh process and changes nothing shared.

    Not even torch's default dtype, its number of threads or its random generator.
    """
    report = subject.factory_import
    if report.error:
        raise CheckFailure(
            f"importing its factories failed: {report.error.splitlines()[-1]}",
            cause="an import string with a slip, or a library that is not installed",
            fix='write factory="package.module:attribute", and list what is imported under `dependencies`',
        )
    _expect_unchanged("importing its factories", report.changed)


def _expect_unchanged(what: str, changed: tuple[str, ...]) -> None:
    if changed:
        raise CheckFailure(
            f"{what} changed {', '.join(changed)}",
            cause="a call at the top level of a module: seeding, configuring, os.environ, chdir",
            fix="do it in the component that needs it, on objects of its own",
        )


@check("plugin-import-fast", Scope.PLUGIN, CheckLevel.PERF)
def import_fast(subject: PluginSubject) -> None:
    """Importing the plugin's module takes at most 20 ms, the best of three fresh processes."""
    seconds = min(subject.import_descriptor().seconds for _ in range(3))
    if seconds > IMPORT_SECONDS:
        raise CheckFailure(
            f"importing it takes {1e3 * seconds:.0f} ms, over {1e3 * IMPORT_SECONDS:.0f} ms",
            cause="work or large imports at the top level of plugin.py",
            fix="`python -X importtime -c 'import package.plugin'` shows what takes long; move it into functions",
        )


#: The checks of this module in order.
PLUGIN_CHECKS: tuple[Check, ...] = collect(globals())
