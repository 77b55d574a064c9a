"""The composition root of ``esper run``: parts are built, wired, run once, and their results written."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from attrs import frozen

from esper_app.configuration.config import RunConfig
from esper_app.configuration.config_text import config_toml
from esper_app.configuration.policy_card import FIRST
from esper_app.configuration.policy_card import FOLDER as POLICIES
from esper_app.configuration.resolve import ResolvedConfig
from esper_app.execution.assembly import Assembly, assemble
from esper_app.execution.checkpoint import damaged, load_checkpoint
from esper_app.execution.manifest import RunFacts, build_manifest
from esper_app.execution.network_files import write_networks
from esper_app.execution.policy_files import SavedPolicy, first_policy, save_policy
from esper_app.execution.resuming import read_manifest, refuse_changes, refuse_other_settings, resumable
from esper_app.execution.run_hosts import run_hosts
from esper_app.execution.run_lock import exclusive
from esper_app.execution.run_parts import RunParts, restoring
from esper_app.execution.saver import Saver, writing
from esper_app.execution.watch import Watch
from esper_app.exit_codes import exit_code_of
from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.leyline.events import Event, EventKind
from esper_core.plugins.plugin_set import PluginSet
from esper_core.simic.loop import Outcome, run_round
from esper_runs.result import RunEnd, answers_asked, run_result
from esper_runs.run_directory import CONFIG, MANIFEST, RESULT, RunDirectory, create_run_directory

#: The key of a manifest that tells a training from a run.
TRAINING = "training"


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
        assembly = _assemble(config, plugins, watch)
        policy, saved = first_policy(assembly)
        parts = RunParts.of(assembly, plugins, policy=policy, first_event=0, strict=strict, watch=watch)
        directory = create_run_directory(Path(config.runs), config.name, config.task.name)
        with exclusive(directory):
            manifest = begun_manifest(assembly, plugins, directory, command, saved)
            directory.write_json(MANIFEST, manifest)
            directory.write_text(CONFIG, config_toml(resolved))
            parts.context.run_start(manifest)
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
        if checkpoint.epoch > config.epochs:
            raise damaged(path, f"it stands before epoch {checkpoint.epoch} of {config.epochs}")
        manifest = read_manifest(directory)
        if TRAINING in manifest:
            fix = f"go on with it: esper train --resume {directory.name}"
            raise EsperError("E506", f'"{directory.name}" is a training', where=str(directory.path), fix=fix)
        refuse_other_settings(manifest["config"], config.tree())
        assembly = _assemble(config, plugins, watch)
        refuse_changes(manifest, begun_manifest(assembly, plugins, directory, command))
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
    )

    def after_epoch(epoch: int) -> None:
        if watch is not None:
            watch.settle()
        saver.after_epoch(epoch)

    try:
        with context.stopping_on_interrupt():
            outcome = run_round(parts.rollout, parts.twin, context, epochs=config.epochs, after_epoch=after_epoch)
            saver.at_the_end()
            result = _result(parts, outcome)
            with writing(directory):
                write_networks(directory, parts.rollout.capture(), outcome.finals, parts.assembly.catalogue)
        context.run_finish(result)
    finally:
        for rollout in parts.rollouts:
            rollout.close()
        context.hub.close()
    result |= context.record()
    if watch is not None:
        watch.settle()
        result |= {"plugin_checks": watch.summary(perf_counter() - began)}
    # Last, and once: a run that has a result is over, whatever becomes of the process.
    with writing(directory):
        directory.write_json(RESULT, result)
    return FinishedRun(directory=directory, result=result)


def begun_manifest(
    assembly: Assembly,
    plugins: PluginSet,
    directory: RunDirectory,
    command: Sequence[str],
    saved: SavedPolicy | None = None,
) -> dict[str, Any]:
    """Return the manifest of a run that begins; with the policy that it begins with, which is copied beside it."""
    manifest = build_manifest(_facts(assembly, plugins, directory, command))
    if saved is not None:
        with writing(directory):
            save_policy(directory.folder(POLICIES), FIRST, saved.card, saved.state)
        manifest["saved_policy"] = {"path": str(saved.path), "digest": saved.card.digest}
    return manifest


def resumed_manifest(
    manifest: Mapping[str, Any], directory: RunDirectory, resumed: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the manifest of a run that goes on. It may have been moved or renamed since it began."""
    before = manifest.get("resumed", [])
    resumes = [*(before if isinstance(before, list) else []), dict(resumed)]
    return {**manifest, "directory": str(directory.path), "name": directory.name, "resumed": resumes}


def _assemble(config: RunConfig, plugins: PluginSet, watch: Watch | None) -> Assembly:
    assembly = assemble(config, plugins)
    return assembly if watch is None else watch.over(assembly)


def _explaining(watch: Watch | None) -> AbstractContextManager[None]:
    return nullcontext() if watch is None else watch.explaining()


def _result(parts: RunParts, outcome: Outcome) -> dict[str, Any]:
    all_stopped = len(outcome.stopped) == len(outcome.finals)
    end = RunEnd.INTERRUPTED if outcome.interrupted else RunEnd.STOPPED if all_stopped else RunEnd.COMPLETED
    asked = answers_asked(parts.assembly.splits.test.targets)
    task, units = parts.assembly.config.task.name, parts.assembly.task.identity.get("units")
    result = run_result(task, outcome.finals, outcome.twins, end, share_of=asked, units=units)
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
