"""The composition root of ``esper train``: rounds of fresh hosts, and a policy that learns between them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from esper_app.configuration.config_text import config_toml
from esper_app.configuration.policy_card import BEST, FOLDER, LAST
from esper_app.configuration.resolve import ResolvedConfig
from esper_app.execution.assembly import Assembly, build_sinks
from esper_app.execution.checkpoint import Checkpoint, damaged, load_checkpoint
from esper_app.execution.following import Following, FollowingPolicy, followed, followed_version
from esper_app.execution.host_builder import RunHostBuilder
from esper_app.execution.policy_files import describe, first_policy, save_policy
from esper_app.execution.progress import Progress
from esper_app.execution.resuming import TRAINING, begun_with, refuse_changes, resumable, resumed_manifest
from esper_app.execution.run import FinishedRun, assembled, begun_manifest, own_threads
from esper_app.execution.run_bus import BUS, RunBus, host_reports, round_over, run_bus
from esper_app.execution.run_hosts import run_hosts
from esper_app.execution.run_lock import exclusive
from esper_app.execution.run_parts import restoring
from esper_app.execution.saver import Saver, writing
from esper_app.execution.staging import Stage, TeachablePolicy, at_the_end, learned, refuse_idle_training, rollouts_of
from esper_app.execution.withdrawing import withdrawn_unless_begun
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.learning import PolicyState, Trajectory
from esper_core.leyline.protocols import Sink
from esper_core.leyline.records import plain
from esper_core.plugins.plugin_set import PluginSet
from esper_core.simic.loop import Outcome
from esper_core.simic.rounds import StagedRound, run_rounds
from esper_core.tamiyo.policy import Policy
from esper_nissa.context import RunContext
from esper_nissa.hub import Hub
from esper_nissa.queue_limits import QueueLimits
from esper_runs.result import RunEnd, answers_asked, run_result
from esper_runs.run_directory import CONFIG, MANIFEST, RESULT, RunDirectory, create_run_directory
from esper_runs.run_list import last_of

#: The name under which what displays a training is among the sinks.
DISPLAY = "display"


def train(
    resolved: ResolvedConfig,
    plugins: PluginSet,
    *,
    command: Sequence[str] = (),
    strict: bool = False,
    display: Sink | None = None,
) -> FinishedRun:
    """Train a policy over rounds of fresh hosts, and write everything to a run directory.

    Args:
        resolved: the configuration; its policy must learn, from rewards.
        plugins: the selected plugins.
        command: the command line, for the manifest.
        strict: a failing sink ends the training.
        display: is told of all events, beside the sinks of the configuration.

    Raises:
        EsperError: E202 if the policy does not learn, or nothing rewards it; whatever keeps a training from beginning.
    """
    config = resolved.config
    with own_threads(config.threads):
        assembly = assembled(resolved, plugins)
        refuse_idle_training(assembly)
        if config.policy.follow:
            followed_version(assembly)
        policy, saved = first_policy(assembly)
        before = last_of(Path(config.runs))
        directory = create_run_directory(Path(config.runs), config.name, config.task.name)
        with exclusive(directory):
            with withdrawn_unless_begun(directory, before):
                training = Training.of(assembly, plugins, policy, directory, strict=strict, display=display)
                manifest = begun_manifest(assembly, plugins, directory, command, saved)
                manifest[TRAINING] = {"rounds": policy.rounds, "hosts": config.hosts}
                directory.write_json(MANIFEST, manifest)
                directory.write_text(CONFIG, config_toml(resolved))
                training.context.run_start(manifest)
            return training.run()


def resume_training(
    directory: RunDirectory,
    resolved: ResolvedConfig,
    plugins: PluginSet,
    *,
    command: Sequence[str] = (),
    strict: bool = False,
    display: Sink | None = None,
) -> FinishedRun:
    """Go on with a training from its newest checkpoint; the policy becomes that of one that never stopped, bit for bit.

    Raises:
        EsperError: as `esper_app.execution.run.resume`, and E506 if it is no training.
    """
    config = resolved.config
    with exclusive(directory), own_threads(config.threads):
        manifest = begun_with(directory, config.tree(), training=True)
        checkpoint = load_checkpoint(path := resumable(directory))
        if checkpoint.epoch > config.epochs:
            raise damaged(path, f"it stands before epoch {checkpoint.epoch} of {config.epochs}")
        assembly = assembled(resolved, plugins)
        refuse_changes(manifest, begun_manifest(assembly, plugins, directory, command))
        training = Training.of(
            assembly,
            plugins,
            assembly.policy(),
            directory,
            strict=strict,
            display=display,
            first_event=checkpoint.sequence,
        )
        if checkpoint.round >= training.planned:
            raise damaged(path, f"it stands in round {checkpoint.round + 1} of {training.planned}")
        if training.following is not None:
            training.following.resume(checkpoint)
        begun = training.stage.round(checkpoint.round)
        with restoring(path):
            training.over = training.stage.restore(begun, checkpoint)
            training.context.hub.restore_counts(checkpoint.sinks)
            training.context.hub.restore_telemetry(checkpoint.telemetry)
        place = {"round": checkpoint.round, "epoch": checkpoint.epoch, "command": list(command)}
        manifest = resumed_manifest(manifest, directory, place)
        directory.write_json(MANIFEST, manifest)
        training.context.run_resume({**manifest, "resumed_at": checkpoint.sequence})
        return training.run(begun)


@define(kw_only=True)
class Training:
    """A training that is under way.

    Attributes:
        stage: makes its rounds.
        context: of the run.
        directory: where it is written.
        bus: takes what the training says; None: it has none.
        following: takes the policies of others; None: the training's own learns.
        over: what is known of each round that is over, as plain data.
        staged: the present round.
    """

    stage: Stage
    context: RunContext
    directory: RunDirectory
    bus: RunBus | None = None
    following: Following | None = None
    over: list[dict[str, Any]] = field(factory=list)
    staged: StagedRound | None = None

    @classmethod
    def of(
        cls,
        assembly: Assembly,
        plugins: PluginSet,
        policy: Policy,
        directory: RunDirectory,
        *,
        strict: bool,
        display: Sink | None,
        first_event: int = 0,
    ) -> "Training":
        """Wire policy, sinks and observers of an assembly together."""
        config = assembly.config
        sinks = build_sinks(config, plugins.registry) | ({DISPLAY: display} if display is not None else {})
        if (bus := run_bus(config, plugins)) is not None:
            sinks[BUS] = bus.sink
        limits = QueueLimits(capacity=config.sinks.capacity, when_full=config.sinks.when_full)
        hub = Hub(sinks, rules=config.telemetry, strict=strict, first=first_event, limits=limits)
        used = frozenset(registered.origin.plugin for registered in assembly.used)
        build = RunHostBuilder.of(plugins, assembly, Progress(hub))
        context = RunContext(hub, plugins, used, listeners=() if bus is None else (bus.hear,))
        hosts = run_hosts(config)
        following = Following.of(assembly, policy) if config.policy.follow else None
        versions = followed(following) if following is not None else learned(config.policy.version)
        stage = Stage(assembly=assembly, build=build, services=context, policy=policy, hosts=hosts, versions=versions)
        training = cls(stage=stage, context=context, directory=directory, bus=bus, following=following)
        # What it learns is noted before anything else happens.
        taught = (TeachablePolicy if following is None else FollowingPolicy)(
            actor=policy.actor, name=policy.name, capabilities=policy.capabilities, learned=training.learned
        )
        training.stage = evolve(stage, policy=taught)
        return training

    @property
    def planned(self) -> int:
        """How many rounds there are in all."""
        return self.stage.policy.rounds

    def run(self, begun: StagedRound | None = None) -> FinishedRun:
        """Run the rounds that are left, and write the result."""
        context, config = self.context, self.stage.assembly.config
        self.staged, first = begun, 0 if begun is None else self._position(begun, begun.rollout.epoch)
        saver = Saver(
            self.directory,
            config.checkpoints,
            lambda _: self._checkpoint(),
            first=first,
            tell=lambda message: context.emit(Event(kind=EventKind.NOTICE, data={"message": message})),
            saved=context.hub.checkpoint,
        )

        def after_epoch(staged: StagedRound, epoch: int) -> None:
            host_reports(self.bus, rollouts_of(staged), staged.number)
            # At the end of a round in any case: what is learned from it is learned again after a resume.
            over = staged.rollout.epoch >= staged.epochs or staged.rollout.over
            saver.after_epoch(self._position(staged, epoch), now=over)

        def after_round(staged: StagedRound, outcome: Outcome) -> None:
            round_over(self.bus, staged.rollout, outcome, staged.number)

        told: dict[str, Any] = {}
        try:
            with context.stopping_on_interrupt():
                make, policy = self._round, self.stage.policy
                outcomes = run_rounds(
                    make, policy, context, begun=begun, after_epoch=after_epoch, after_round=after_round
                )
                if outcomes[-1].interrupted:
                    saver.at_the_end()
                result = self._result(outcomes[-1], interrupted=outcomes[-1].interrupted or self._is_cut_short())
            context.run_finish(result)
        finally:
            self._let_go()
            context.hub.close()
            if self.bus is not None:
                told[BUS] = self.bus.close()
        result |= context.record() | told
        with writing(self.directory):
            self.directory.write_json(RESULT, result)
        return FinishedRun(directory=self.directory, result=result)

    def learned(self, acted: PolicyState, trajectories: tuple[Trajectory, ...], figures: Mapping[str, float]) -> None:
        """Note what came of a round, and save the policy: that which acted if no round before was better."""
        staged, assembly = self.staged, self.stage.assembly
        assert staged is not None
        returns = {
            report.host: sum(rewards)
            for report, rewards in zip(staged.rollout.reports, staged.rollout.rewards, strict=True)
        }
        mean = sum(returns.values()) / len(returns)
        best = all(mean > it["mean_return"] for it in self.over)
        self.over.append(
            {
                "round": staged.number,
                "returns": returns,
                "mean_return": mean,
                "validation": at_the_end(trajectories),
                "figures": plain(figures),
            }
        )
        if self.following is not None:
            self.following.round_over(self.over, trajectories, self.context.emit)
            return
        folder, now = self.directory.folder(FOLDER), self.stage.policy.state()
        assert now is not None
        with writing(self.directory):
            save_policy(folder, LAST, describe(assembly, now, rounds=len(self.over), results=self.over[-1]), now)
            if best:
                card = describe(assembly, acted, rounds=len(self.over) - 1, results=self.over[-1])
                save_policy(folder, BEST, card, acted)

    def _round(self, number: int) -> StagedRound:
        self._let_go()
        self.staged = self.stage.round(number)
        host_reports(self.bus, rollouts_of(self.staged), number)
        return self.staged

    def _let_go(self) -> None:
        for rollout in rollouts_of(self.staged) if self.staged is not None else ():
            rollout.close()

    def _position(self, staged: StagedRound, epoch: int) -> int:
        """An epoch's number in the whole training."""
        return staged.number * staged.epochs + epoch

    def _checkpoint(self) -> Checkpoint:
        assert self.staged is not None
        return self.stage.checkpoint(self.staged, self.over, self.context.hub)

    def _is_cut_short(self) -> bool:
        return len(self.over) < self.planned

    def _result(self, last: Outcome, *, interrupted: bool) -> dict[str, Any]:
        """The hosts of the last round beside their twins, and what is known of all rounds."""
        end = RunEnd.INTERRUPTED if interrupted else RunEnd.COMPLETED
        assembly = self.stage.assembly
        asked = answers_asked(assembly.splits.test.targets)
        task, units = assembly.config.task.name, assembly.task.identity.get("units")
        result = run_result(task, last.finals, last.twins, end, share_of=asked, units=units)
        best = max(self.over, key=lambda it: it["mean_return"], default=None)
        return result | {
            "rewards": [sum(rewards) for rewards in last.rewards],
            "training": {"rounds": self.over, "planned": self.planned, "best": None if best is None else best["round"]},
        }
