"""The composition root of ``esper run``: parts are built, wired, run once, and their results written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from esper_core.leyline.records import plain
from esper_core.nissa.hub import Hub
from esper_core.plugins.plugin_set import PluginSet
from esper_core.runtime.assembly import Assembly, assemble, build_sinks
from esper_core.runtime.config_text import config_toml
from esper_core.runtime.context import RunContext
from esper_core.runtime.manifest import RunFacts, build_manifest
from esper_core.runtime.network_files import write_network
from esper_core.runtime.resolve import ResolvedConfig
from esper_core.runtime.result import RunEnd, run_result
from esper_core.runtime.run_directory import CONFIG, MANIFEST, RESULT, RunDirectory, create_run_directory
from esper_core.simic.loop import Cohort, Outcome, run_round
from esper_core.tamiyo.actors import NullActor
from esper_core.tolaria.executors import SerialExecutor
from esper_core.tolaria.host import GrowingHost

GROWN, TWIN = "grown", "twin"


@frozen(kw_only=True)
class FinishedRun:
    """A run that is over.

    Attributes:
        directory: where it is written.
        result: what is in ``result.json``.
    """

    directory: RunDirectory
    result: dict[str, Any]

    @property
    def interrupted(self) -> bool:
        """Somebody asked it to stop early."""
        return bool(self.result["outcome"] == RunEnd.INTERRUPTED)


def execute(
    resolved: ResolvedConfig, plugins: PluginSet, *, command: Sequence[str] = (), strict: bool = False
) -> FinishedRun:
    """Run a configuration once and write everything to a run directory of its own.

    Args:
        resolved: the configuration.
        plugins: the selected plugins.
        command: the command line, for the manifest.
        strict: a failing sink ends the run.

    Raises:
        EsperError: whatever keeps the run from beginning; nothing has been trained then.
    """
    config = resolved.config
    with _threads(config.threads):
        assembly = assemble(config, plugins)
        sinks = build_sinks(config, plugins.registry)
        directory = create_run_directory(Path(config.runs), config.name, config.task.name)
        manifest = build_manifest(_facts(assembly, plugins, directory, command))
        directory.write_json(MANIFEST, manifest)
        directory.write_text(CONFIG, config_toml(resolved))
        used = frozenset(registered.origin.plugin for registered in assembly.used)
        context = RunContext(Hub(sinks, level=config.telemetry, strict=strict), plugins, used)
        return _run(assembly, context, directory, manifest)


def _run(assembly: Assembly, context: RunContext, directory: RunDirectory, manifest: dict[str, Any]) -> FinishedRun:
    config = assembly.config
    grown = SerialExecutor([GrowingHost(assembly.plan(GROWN))])
    cohort = _cohort(assembly, context, grown, twin=False)
    twin = None
    if config.twin:
        twin = _cohort(assembly, context, SerialExecutor([GrowingHost(assembly.plan(TWIN))]), twin=True)
    context.run_start(manifest)
    try:
        with context.stopping_on_interrupt():
            outcome = run_round(cohort, twin, context, epochs=config.epochs)
            result = _write_results(assembly, context, directory, grown, outcome)
        context.run_finish(result)
    finally:
        context.hub.close()
    return FinishedRun(directory=directory, result=result)


def _write_results(
    assembly: Assembly, context: RunContext, directory: RunDirectory, grown: SerialExecutor, outcome: Outcome
) -> dict[str, Any]:
    end = RunEnd.INTERRUPTED if outcome.interrupted else RunEnd.STOPPED if outcome.stopped else RunEnd.COMPLETED
    result = run_result(assembly.config.task.name, outcome.finals, outcome.twin, end)
    result |= {"rewards": [sum(rewards) for rewards in outcome.rewards]}
    result |= {"sinks": plain(context.hub.counts()), "observer_failures": context.failures()}
    directory.write_json(RESULT, result)
    write_network(directory, grown.capture()[0], outcome.finals[0], assembly.catalogue)
    return result


def _cohort(assembly: Assembly, context: RunContext, executor: SerialExecutor, *, twin: bool) -> Cohort:
    return Cohort(
        executor,
        NullActor() if twin else assembly.actor(),
        policy="null" if twin else assembly.policy,
        epochs=assembly.config.epochs,
        random_guess_loss=assembly.task.random_guess_loss,
        services=context,
        terms=() if twin else assembly.terms,
    )


def _facts(assembly: Assembly, plugins: PluginSet, directory: RunDirectory, command: Sequence[str]) -> RunFacts:
    return RunFacts(
        name=directory.name,
        directory=str(directory.path),
        config=assembly.config,
        plugins=plugins.records,
        used=assembly.used,
        blueprints=[{"name": entry.name, "options": dict(entry.options)} for entry in assembly.catalogue],
        data=assembly.task.identity,
        command=command,
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Other thread counts give other bits: a run has its own, and leaves the process as it found it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
