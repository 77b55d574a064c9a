"""The ungrown host of a run for another training loop: its initial weights, batches and rates, and what is counted.

A method that does not grow by seeds is comparable with a run where it begins with the run's weights, sees the run's
batches in the run's order, and follows the run's schedule.
"""

from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor, nn

from esper_app.configuration.resolve import ResolvedConfig
from esper_app.configuration.training import TrainingConfig
from esper_app.execution.assembly import assemble
from esper_core.kasmina.undisturbed import seed_random_state
from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import Criterion, Split, Splits, Task
from esper_core.leyline.streams import derive_seed
from esper_core.plugins.plugin_set import PluginSet
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.flops import STEP
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.lr_schedule import build_optimizer
from esper_runs.result import GROWN


@frozen(kw_only=True)
class Scores:
    """What a network makes of a split: mean loss in nats, and accuracy, 0 to 1, NaN where the task has none."""

    loss: float
    accuracy: float


class OwnLoop:
    """The parts of a run's host, for a loop of one's own.

    Attributes:
        task, splits: what is learned.
        model: the host with the run's initial weights.
        optimizer_config: the run's optimizer and schedule.
        epochs: how many the configuration has.
        budget: in floating-point operations; None: none.
        seed: the run's.
    """

    def __init__(self, configuration: ResolvedConfig, plugins: PluginSet) -> None:
        config = configuration.config
        if config.training != TrainingConfig():
            raise EsperError(
                "E202",
                "training sets how a run computes, and this loop is not a run's",
                where="training",
                fix="leave the section out for this arm",
            )
        assembly = assemble(config, plugins)
        self._host = GrowingHost(assembly.host_plan(assembly.plan(GROWN)))
        self.task: Task = assembly.task
        self.splits: Splits = assembly.splits
        self.model: nn.Module = self._host.model
        self.optimizer_config: OptimizerConfig = config.optimizer
        self.epochs: int = config.epochs
        self.budget: float | None = config.flops
        self.seed: int = config.seed

    def optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return the run's optimizer for the parameters of a module; norms and biases have no weight decay."""
        return build_optimizer(module, self.optimizer_config)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (inputs, targets) that the run's host sees in an epoch, counted from 0."""
        return self._host.batches.epoch(epoch)

    def begin(self, epoch: int, spent: float, ahead: float) -> None:
        """Begin an epoch: say which share of the budget is spent, and which share the epoch will take.

        Random numbers of torch's global generator are the run's for this epoch from here on.
        """
        if self.budget is not None:
            self._host.rates.begin(self._host.growth, epoch, spent, ahead)
        seed_random_state(derive_seed(self.seed, "host", epoch), self.splits.train.inputs.device)

    def rate(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step of an epoch, both counted from 0."""
        self._host.rates.set(self._host.growth, epoch, step)
        return float(self._host.optimizer.param_groups[0]["lr"])

    def epoch_flops(self, forward: int) -> int:
        """Return what an epoch costs, training and evaluation, of a network whose forward pass costs so much."""
        return forward * (STEP * len(self.splits.train.targets) + len(self.splits.validation.targets))

    def training_flops(self, forward: int, samples: int) -> int:
        """Return the operations of a forward and a backward pass over a number of samples."""
        return STEP * forward * samples

    def scores(self, model: nn.Module, name: str) -> Scores:
        """Measure a network on the split ``validation`` or ``test``, in evaluation mode."""
        return scores(self.task, getattr(self.splits, name), model)


#: Samples that are measured together.
_LOT = 256


@torch.no_grad()
def scores(task: Criterion, split: Split, model: nn.Module) -> Scores:
    """Measure a network on a split, in evaluation mode; its mode is what it was afterwards."""
    training = model.training
    model.eval()
    try:
        outputs = [model(part) for part in torch.split(split.inputs, _LOT)]
    finally:
        model.train(training)
    whole = torch.cat(outputs)
    losses, right = task.losses(whole, split.targets), task.correct(whole, split.targets)
    return Scores(loss=float(losses.double().mean()), accuracy=float(right.double().mean()))


def own_loop(configuration: ResolvedConfig, plugins: PluginSet) -> OwnLoop:
    """Return the parts of a run's host for a loop of one's own.

    Args:
        configuration: the run's. What concerns growing is not used.
        plugins: the loaded plugins.

    Raises:
        EsperError: what keeps a run from beginning; E202 if ``training`` says how to compute.
    """
    return OwnLoop(configuration, plugins)
