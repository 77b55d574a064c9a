"""A run in memory, step by step: it says what its policy thinks, and can be led elsewhere. It writes nothing."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

from esper_app.configuration.policy_card import FIRST
from esper_app.configuration.policy_card import FOLDER as POLICIES
from esper_app.configuration.resolve import ResolvedConfig
from esper_app.execution.assembly import Assembly, assemble, with_local_modules
from esper_app.execution.budget import check_budget
from esper_app.execution.checkpoint import FOLDER, load_checkpoint
from esper_app.execution.host_builder import RunHostBuilder
from esper_app.execution.listening import Asked, KeptPolicy, ListeningPolicy, Quiet
from esper_app.execution.policy_files import first_policy, load_policy, refuse_following, take_up
from esper_app.execution.resuming import read_manifest, refuse_changes, refuse_other_settings
from esper_app.execution.run import begun_manifest, own_threads
from esper_app.execution.run_hosts import RunHost, refuse_compute_control, run_hosts
from esper_app.execution.run_modules import replayed_modules
from esper_app.execution.run_parts import restoring
from esper_app.execution.staging import Stage, learned, rollouts_of
from esper_core.leyline.actions import Action
from esper_core.leyline.learning import Decision, Explanation, PolicyState, Situation, Trajectory
from esper_core.leyline.reports import FinalReport, HostState
from esper_core.leyline.specs import Capability
from esper_core.plugins.plugin_set import PluginSet
from esper_core.simic.rounds import StagedRound
from esper_core.simic.state import LoopState
from esper_core.tamiyo.policy import Policy
from esper_runs.result import GROWN, TWIN
from esper_runs.run_directory import RunDirectory

_SAVED = re.compile(r"(?:round-(?P<round>\d+)-)?epoch-(?P<epoch>\d+)")

#: Where a run stands: number of a round, and the epoch that comes next, both from 0.
Place = tuple[int, int]

#: Everything that a replay needs to go on from a place: of each rollout its hosts, its loop and its policy.
Memory = tuple[Place, tuple[tuple[list[HostState], LoopState, PolicyState | None], ...]]


class Replay:
    """A run that is stepped through.

    Args:
        assembly: the parts of the run.
        plugins: the loaded plugins.
        policy: decides.
        hosts: those that grow; None: those of the configuration.
        keep: what happens is kept as trajectories, also of a policy that does not learn.

    Attributes:
        asked: what the policy was asked so far, oldest first.
        services: with the events so far; their times and numbers are not filled in.
    """

    def __init__(
        self,
        assembly: Assembly,
        plugins: PluginSet,
        policy: Policy,
        hosts: Sequence[RunHost] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self.asked: list[Asked] = []
        self.services = Quiet()
        self._instead: dict[str, Action] = {}
        heard = (KeptPolicy if keep else ListeningPolicy)(
            actor=policy.actor,
            name=policy.name,
            capabilities=policy.capabilities | ({Capability.LEARNS} if keep else set()),
            heard=self._hear,
            instead=self._instead,
        )
        self._stage = Stage(
            assembly=assembly,
            build=RunHostBuilder.of(plugins, assembly),
            services=self.services,
            policy=heard,
            hosts=run_hosts(assembly.config) if hosts is None else tuple(hosts),
            versions=learned(assembly.config.policy.version),
        )
        self._round: StagedRound | None = None
        self._threads = own_threads(assembly.config.threads)
        self._threads.__enter__()

    @property
    def assembly(self) -> Assembly:
        """The parts of the run."""
        return self._stage.assembly

    @property
    def policy_name(self) -> str:
        """Name and version of the policy."""
        return self._stage.policy.name

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self._staged.number, self._staged.rollout.epoch

    @property
    def over(self) -> bool:
        """Whether the round is over: at its planned end, or since every host was stopped."""
        rollout = self._staged.rollout
        return rollout.epoch >= self._staged.epochs or rollout.over

    @property
    def rewards(self) -> dict[str, list[float]]:
        """The rewards of each host in this round, by epoch; empty without reward terms."""
        rollout = self._staged.rollout
        names = [report.host for report in rollout.reports]
        return {name: list(rewards) for name, rewards in zip(names, rollout.rewards, strict=True)}

    def trajectories(self) -> tuple[Trajectory, ...]:
        """Return the complete trajectories of this round; of a policy that does not learn, only if they are kept."""
        return self._staged.rollout.trajectories()

    def step(self, instead: Mapping[str, Action] | None = None) -> None:
        """Let an epoch pass.

        Args:
            instead: what is done in place of what the policy decides, by host.
        """
        self._instead.update(instead or {})
        twin = self._staged.twin
        self._staged.rollout.step([report.evidence for report in twin.step()] if twin is not None else [None])

    def finish_round(self) -> None:
        """Step to the end of the round."""
        while not self.over:
            self.step()

    def advance(self, number: int, epoch: int) -> None:
        """Step, and let the policy learn after each round, to an epoch of a round; no further than that round goes."""
        while (present := self._staged.number) < number:
            self.finish_round()
            self._stage.policy.learn(self._staged.rollout.trajectories())
            self._let_go()
            self._round = self._stage.round(present + 1)
        while self._staged.rollout.epoch < epoch and not self.over:
            self.step()

    def finish(self) -> tuple[tuple[FinalReport, ...], tuple[FinalReport, ...]]:
        """Return the final reports of the hosts and of their twins."""
        twin = self._staged.twin
        return self._staged.rollout.finish(), twin.finish() if twin is not None else ()

    def remember(self) -> Memory:
        """Return what it takes to come back to this place."""
        states = tuple((it.capture(), it.state(), it.policy_state()) for it in rollouts_of(self._staged))
        return self.place, states

    def return_to(self, memory: Memory) -> None:
        """Stand where the run stood when this was remembered; the same round must be under way."""
        # A copy each time: what is restored is trained on in place, optimizer states included.
        place, states = deepcopy(memory)
        for rollout, state in zip(rollouts_of(self._staged), states, strict=True):
            rollout.restore(*state)
        self.asked = [it for it in self.asked if (it.round, it.situation.observation.host.epoch) < place]

    def close(self) -> None:
        """Let go of the hosts, and leave the process as it was."""
        self._let_go()
        self._threads.__exit__(None, None, None)

    def begin_at(self, path: Path) -> None:
        """Begin where a checkpoint is. Raises EsperError E509 if it cannot be restored."""
        checkpoint = load_checkpoint(path)
        self._round = self._stage.round(checkpoint.round)
        with restoring(path):
            self._stage.restore(self._round, checkpoint)

    @property
    def _staged(self) -> StagedRound:
        if self._round is None:
            self._round = self._stage.round(0)
        return self._round

    def _let_go(self) -> None:
        for rollout in rollouts_of(self._round) if self._round is not None else ():
            rollout.close()

    def _hear(self, situation: Situation, explanation: Explanation | None, decision: Decision) -> None:
        number = 0 if self._round is None else self._round.number
        asked = Asked(round=number, situation=situation, explanation=explanation, decision=decision)
        self.asked.append(asked)


def begin_replay(resolved: ResolvedConfig, plugins: PluginSet, seeds: Sequence[int] | None = None) -> Replay:
    """Return a run of a configuration that is stepped through; see `esper_app.api.begin_replay`."""
    assembly = with_local_modules(assemble(resolved.config, plugins))
    refuse_compute_control(assembly, "a policy is judged")
    refuse_following(assembly)
    check_budget(assembly, None if seeds is None else len(seeds))
    policy, _ = first_policy(assembly)
    hosts = None if seeds is None else [*map(partial(_host_of_seed, assembly), seeds)]
    return Replay(assembly, plugins, policy, hosts)


def replay_run(
    directory: RunDirectory, resolved: ResolvedConfig, plugins: PluginSet, place: Place, *, keep: bool = False
) -> Replay:
    """Return a recorded run that stands at its nearest checkpoint before a place, or at its beginning.

    With `keep` its trajectories are kept, whatever its policy is; so it stands at its beginning.
    """
    manifest = read_manifest(directory)
    refuse_other_settings(manifest["config"], resolved.config.tree())
    assembly = assemble(resolved.config, plugins)
    refuse_following(assembly)
    refuse_changes(manifest, begun_manifest(assembly, plugins, directory, ()))
    assembly = with_local_modules(assembly, replayed_modules(assembly.config, directory))
    policy, path = assembly.policy(), None if keep else checkpoint_before(directory, place)
    if path is None and resolved.config.policy.saved is not None:
        take_up(policy, load_policy(directory.folder(POLICIES) / FIRST), assembly)
    replay = Replay(assembly, plugins, policy, keep=keep)
    if path is not None:
        replay.begin_at(path)
    return replay


def checkpoint_before(directory: RunDirectory, place: Place) -> Path | None:
    """Return the newest checkpoint of a run that is not behind a place; None if there is none."""
    found = {saved: path for path in directory.folder(FOLDER).glob("*.safetensors") if (saved := place_of(path))}
    before = [it for it in found if it <= place]
    return found[max(before)] if before else None


def nearest_checkpoint(directory: RunDirectory, place: Place) -> Place:
    """Return the place from which `replay_run` goes to another one; (0, 0) from the beginning."""
    path = checkpoint_before(directory, place)
    return (0, 0) if path is None else place_of(path) or (0, 0)


def place_of(path: Path) -> Place | None:
    """Return the place of a checkpoint by its name; None if it has another one."""
    matched = _SAVED.fullmatch(path.stem)
    return (int(matched["round"] or 0), int(matched["epoch"])) if matched else None


def _host_of_seed(assembly: Assembly, seed: int) -> RunHost:
    paired = assembly.config.twin.equal_epochs
    device = assembly.config.device
    return RunHost(name=f"{GROWN}-{seed}", seed=seed, device=device, twin=f"{TWIN}-{seed}" if paired else None)
