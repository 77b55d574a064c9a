"""A run's host on other splits than its task's, growing under the run's policy: for data that arrive later."""

from collections.abc import Mapping, Sequence

import torch
from attrs import define, frozen
from torch import Tensor, nn

from esper_app.configuration.config import RunConfig
from esper_app.execution.assembly import assemble
from esper_app.execution.budget import check_budget
from esper_core.leyline.actions import Action, GovernorMode, Transition
from esper_core.leyline.events import Event
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.executors import Plan
from esper_core.leyline.protocols import Splits
from esper_core.leyline.reports import ApplyReport, FinalReport, HostReport, HostState
from esper_core.plugins.plugin_set import PluginSet
from esper_core.simic.loop import run_round
from esper_core.simic.rollout import Rollout
from esper_core.tolaria.host import GrowingHost
from esper_runs.result import GROWN


@frozen(kw_only=True)
class TrainedPart:
    """What came of it.

    Attributes:
        final: the host at the end; its test figures are of the test split that was given.
        validation_loss: after the last epoch, in nats, on the validation split that was given.
        network: with its seeds, as it stands.
        stopped: why the governor has stopped it; None: it has not.
    """

    final: FinalReport
    validation_loss: float
    network: nn.Module
    stopped: str | None

    def raise_if_stopped(self) -> None:
        """Raise RuntimeError if the governor has stopped the training."""
        if self.stopped is not None:
            raise RuntimeError(f"the governor stopped the training: {self.stopped}")


def train_on(
    config: RunConfig, plugins: PluginSet, splits: Splits, weights: Mapping[str, Tensor] | None = None
) -> TrainedPart:
    """Train the host of a configuration as a run does, but on the splits that are given, and write nothing.

    Args:
        config: the run's. Twins, controls, sinks, checkpoints and the executor are not used: one host is trained, in
            this process.
        plugins: the loaded plugins.
        splits: what it learns from, is judged by, and is tested on; of the task's shape.
        weights: what the host begins with, the ``state_dict`` of such a host in which nothing has grown; None: what a
            run begins with.

    Raises:
        EsperError: whatever keeps a run from beginning; E302 for splits that cannot be used.
        RuntimeError: for weights that do not fit the host.
    """
    assembly = assemble(config, plugins, lambda task: splits)
    check_budget(assembly)
    plan = assembly.plan(GROWN)
    host = GrowingHost(assembly.host_plan(plan))
    if weights is not None:
        host.model.load_state_dict(weights)
    around = _Surroundings()
    rollout = Rollout(
        _Alone(host),
        assembly.policy(),
        plans=[plan],
        epochs=config.epochs,
        random_guess_loss=assembly.task.random_guess_loss,
        services=around,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        (final,) = run_round(rollout, None, around, epochs=config.epochs).finals
    finally:
        torch.set_num_threads(threads)
    assert around.evidence is not None
    governor = host.grower.governor
    return TrainedPart(
        final=final,
        validation_loss=around.evidence.validation.loss,
        network=host.model,
        stopped=governor.reason if governor.mode is GovernorMode.STOPPED else None,
    )


@frozen
class _Alone:
    """An executor of one host that is there already. What the host raises is not caught."""

    host: GrowingHost

    def open(self, plans: Sequence[Plan]) -> list[HostReport]:
        return self.reports()

    def reports(self) -> list[HostReport]:
        return [self.host.report()]

    def apply(self, actions: Sequence[Sequence[Action]]) -> list[list[ApplyReport]]:
        return [[self.host.apply(action) for action in asked] for asked in actions]

    def epoch(self, references: Sequence[Evidence | None]) -> list[HostReport]:
        return [self.host.epoch(*references)]

    def finish(self) -> list[FinalReport]:
        return [self.host.finish()]

    def capture(self) -> list[HostState]:
        return [self.host.capture()]

    def restore(self, states: Sequence[HostState]) -> list[HostReport]:
        self.host.restore(*states)
        return self.reports()

    def close(self) -> None:
        pass


@define
class _Surroundings:
    """Keeps the evidence of the last epoch; nobody is told anything, and nobody asks to stop."""

    evidence: Evidence | None = None

    def emit(self, event: Event) -> None:
        pass

    def epoch_end(self, host: str, evidence: Evidence) -> None:
        self.evidence = evidence

    def seed_transition(self, host: str, transition: Transition) -> None:
        pass

    def should_stop(self) -> bool:
        return False
