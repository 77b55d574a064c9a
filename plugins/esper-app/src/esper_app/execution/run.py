"""The composition root of ``esper run``: parts are built, wired, run once, and their results written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from attrs import frozen

from esper_app.configuration.catalogue import review_catalogue
from esper_app.configuration.config_text import config_toml
from esper_app.configuration.policy_card import FIRST
from esper_app.configuration.policy_card import FOLDER as POLICIES
from esper_app.configuration.resolve import ResolvedConfig
from esper_app.execution.assembly import Assembly, assemble
from esper_app.execution.budget import budget_in_words, check_budget
from esper_app.execution.checkpoint import damaged, load_checkpoint
from esper_app.execution.manifest import RunFacts, build_manifest
from esper_app.execution.network_files import write_networks
from esper_app.execution.policy_files import SavedPolicy, first_policy, refuse_following, save_policy
from esper_app.execution.resuming import begun_with, refuse_changes, resumable, resumed_manifest
from esper_app.execution.run_bus import BUS, bus_entry, host_reports, round_over
from esper_app.execution.run_hosts import run_hosts
from esper_app.execution.run_lock import exclusive
from esper_app.execution.run_modules import repeat_arrivals
from esper_app.execution.run_parts import RunParts, restoring
from esper_app.execution.saver import Saver, writing
from esper_app.execution.watch import Watch
from esper_app.execution.withdrawing import withdrawn_unless_begun
from esper_app.exit_codes import exit_code_of
from esper_core.leyline.errors import ExitCode
from esper_core.leyline.events import Event, EventKind
from esper_core.plugins.plugin_set import PluginSet
from esper_core.simic.loop import Outcome, run_round
from esper_runs.result import RunEnd, answers_asked, run_result
from esper_runs.run_directory import CONFIG, MANIFEST, RESULT, RunDirectory, create_run_directory
from esper_runs.run_list import last_of


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

    @property
    def exit_code(self) -> ExitCode:
        """What a command tells the shell about it."""
        return exit_code_of(self.result)


def execute(
    resolved: ResolvedConfig,
    plugins: PluginSet,
    *,
    command: Sequence[str] = (),
    strict: bool = False,
    watch: Watch | None = None,
) -> FinishedRun:
    """Run a configuration once and write everything to a run directory of its own.

    Args:
        resolved: the configuration.
        plugins: the selected plugins.
        command: the command line, for the manifest.
        strict: a failing sink ends the run.
        watch: looks at what plugins do, all the time.

    Raises:
        EsperError: whatever keeps the run from beginning; nothing has been trained then. With a `watch`: E530 when
            a plugin breaks its contract.
    """
    config = resolved.config
    with own_threads(config.threads), _explaining(watch):
        assembly = assembled(resolved, plugins, watch)
        refuse_following(assembly)
        policy, saved = first_policy(assembly)
        parts = RunParts.of(assembly, plugins, policy=policy, first_event=0, strict=strict, watch=watch)
        before = last_of(Path(config.runs))
        directory = create_run_directory(Path(config.runs), config.name, config.task.name)
        with exclusive(directory):
            with withdrawn_unless_begun(directory, before):
                manifest = begun_manifest(assembly, plugins, directory, command, saved)
                directory.write_json(MANIFEST, manifest)
                directory.write_text(CONFIG, config_toml(resolved))
                parts.context.run_start(manifest)
            if (said := budget_in_words(assembly)) is not None:
                parts.context.emit(Event(kind=EventKind.NOTICE, data={"message": said}))
            return _run(parts, directory, first=0)


def resume(
    directory: RunDirectory,
    resolved: ResolvedConfig,
    plugins: PluginSet,
    *,
    command: Sequence[str] = (),
    strict: bool = False,
    watch: Watch | None = None,
) -> FinishedRun:
    """Go on with a run from its newest checkpoint; events and weights become those of a run that never stopped.

    Args:
        directory: the run's.
        resolved: the run's own configuration.
        plugins: the selected plugins.
        command: the command line, for the manifest.
        strict: a failing sink ends the run.
        watch: looks at what plugins do, all the time; also if the run did not begin so.

    Raises:
        EsperError: E506 if there is nothing to go on from, E509, E510 for a checkpoint that cannot be read, E511 if a
            plugin that the run uses has changed, E514 if another process is at the run, E515 if the configuration is
            not the one that the run began with. With a `watch`: E530 when a plugin breaks its contract.
    """
    config = resolved.config
    with exclusive(directory), own_threads(config.threads), _explaining(watch):
        checkpoint = load_checkpoint(path := resumable(directory))
        if checkpoint.epoch > config.epochs and not config.twin.equal_compute:
            raise damaged(path, f"it stands before epoch {checkpoint.epoch} of {config.epochs}")
        manifest = begun_with(directory, config.tree(), training=False)
        assembly = assembled(resolved, plugins, watch)
        refuse_changes(manifest, begun_manifest(assembly, plugins, directory, command))
        repeat_arrivals(config, assembly.modules, directory)
        parts = RunParts.of(
            assembly,
            plugins,
            policy=assembly.policy(),
            first_event=checkpoint.sequence,
            strict=strict,
            watch=watch,
        )
        with restoring(path):
            parts.restore(checkpoint)
        manifest = resumed_manifest(manifest, directory, {"epoch": checkpoint.epoch, "command": list(command)})
        directory.write_json(MANIFEST, manifest)
        parts.context.run_resume({**manifest, "resumed_at": checkpoint.sequence})
        return _run(parts, directory, first=checkpoint.epoch)


def _run(parts: RunParts, directory: RunDirectory, *, first: int) -> FinishedRun:
    config, context, watch = parts.assembly.config, parts.context, parts.watch
    began = perf_counter()
    saver = Saver(
        directory,
        config.checkpoints,
        parts.checkpoint,
        first=first,
        tell=lambda message: context.emit(Event(kind=EventKind.NOTICE, data={"message": message})),
        saved=context.hub.checkpoint,
    )

    def after_epoch(epoch: int) -> None:
        if watch is not None:
            watch.settle()
        host_reports(parts.bus, parts.rollouts)
        saver.after_epoch(epoch)

    told: dict[str, Any] = {}
    try:
        with context.stopping_on_interrupt():
            if first == 0:
                host_reports(parts.bus, parts.rollouts)
            outcome = run_round(parts.rollout, parts.twin, context, epochs=config.epochs, after_epoch=after_epoch)
            round_over(parts.bus, parts.rollout, outcome)
            compared = None if outcome.interrupted else _compare(parts, outcome, after_epoch)
            saver.at_the_end()
            result = _result(parts, outcome, compared)
            with writing(directory):
                write_networks(directory, parts.rollout.capture(), outcome.finals, parts.assembly.catalogue)
        context.run_finish(result)
    finally:
        for rollout in parts.rollouts:
            rollout.close()
        context.hub.close()
        if parts.bus is not None:
            told[BUS] = parts.bus.close()
    result |= context.record() | told
    if watch is not None:
        watch.settle()
        result |= {"plugin_checks": watch.summary(perf_counter() - began)}
    # Last, and once: a run that has a result is over, whatever becomes of the process.
    with writing(directory):
        directory.write_json(RESULT, result)
    return FinishedRun(directory=directory, result=result)


def _compare(parts: RunParts, outcome: Outcome, after_epoch: Callable[[int], None]) -> Outcome | None:
    """Train the controls of equal compute, or what is left of that; None if there are none.

    Their epochs are counted on from those of the run, so that checkpoints have an order.
    """
    if parts.control is None:
        parts.begin_controls(outcome.finals)
        parts.tell_of_controls(outcome.finals)
        host_reports(parts.bus, parts.rollouts)
    if parts.control is None:
        return None
    epochs, before = max(control.epochs for control in parts.controls), parts.assembly.config.epochs
    return run_round(
        parts.control, None, parts.context, epochs=epochs, after_epoch=lambda epoch: after_epoch(before + epoch)
    )


def begun_manifest(
    assembly: Assembly,
    plugins: PluginSet,
    directory: RunDirectory,
    command: Sequence[str],
    saved: SavedPolicy | None = None,
) -> dict[str, Any]:
    """Return the manifest of a run that begins; with the policy that it begins with, which is copied beside it."""
    manifest = build_manifest(_facts(assembly, plugins, directory, command)) | bus_entry(assembly.config)
    if saved is not None:
        with writing(directory):
            save_policy(directory.folder(POLICIES), FIRST, saved.card, saved.state)
        manifest["saved_policy"] = {"path": str(saved.path), "digest": saved.card.digest}
        if (version := assembly.config.policy.version) is not None:
            manifest["saved_policy"]["version"] = version
    return manifest


def assembled(resolved: ResolvedConfig, plugins: PluginSet, watch: Watch | None = None) -> Assembly:
    """Return the parts of a run or a training that begins or goes on, once its blueprints have been reviewed.

    Raises:
        EsperError: what a review objects to, E202 for a budget that cannot be kept, and as `assemble`.
    """
    review_catalogue(resolved, plugins.registry)
    assembly = assemble(resolved.config, plugins)
    if assembly.modules is not None:
        assembly.modules.check()
    check_budget(assembly)
    return assembly if watch is None else watch.over(assembly)


def _explaining(watch: Watch | None) -> AbstractContextManager[None]:
    return nullcontext() if watch is None else watch.explaining()


def _result(parts: RunParts, outcome: Outcome, compared: Outcome | None) -> dict[str, Any]:
    all_stopped = len(outcome.stopped) == len(outcome.finals)
    interrupted = outcome.interrupted or (compared is not None and compared.interrupted)
    end = RunEnd.INTERRUPTED if interrupted else RunEnd.STOPPED if all_stopped else RunEnd.COMPLETED
    asked = answers_asked(parts.assembly.splits.test.targets)
    task, units = parts.assembly.config.task.name, parts.assembly.task.identity.get("units")
    # A control that was cut short has not been trained with equal compute.
    trained = [] if compared is None or compared.interrupted else zip(parts.controls, compared.finals, strict=True)
    beside = {control.host: final for control, final in trained}
    result = run_result(task, outcome.finals, outcome.twins, end, controls=beside, share_of=asked, units=units)
    return result | {"rewards": [sum(rewards) for rewards in outcome.rewards], "stopped": [*outcome.stopped]}


def _facts(assembly: Assembly, plugins: PluginSet, directory: RunDirectory, command: Sequence[str]) -> RunFacts:
    return RunFacts(
        name=directory.name,
        directory=str(directory.path),
        config=assembly.config,
        plugins=plugins.records,
        used=assembly.used,
        observing=[name for r in plugins.records if plugins.may_observe(name := r.origin.plugin, frozenset())],
        hosts=run_hosts(assembly.config),
        blueprints=[{"name": entry.name, "options": dict(entry.options)} for entry in assembly.catalogue],
        data=assembly.task.identity,
        command=command,
    )


@contextmanager
def own_threads(count: int) -> Iterator[None]:
    """Other thread counts give other bits: a run has its own, and leaves the process as it found it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
