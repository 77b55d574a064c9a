"""The trainer `neurons`: a host that is widened by TINY or GradMax while it trains, counted as Esper counts its own."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from attrs import define, field
from torch import nn

from esper_app.api import OwnLoop, Resolved, own_loop
from esper_app_bench.neurons.network import Method, NeuronNetwork
from esper_core.adapting import forward_flops, parameter_count
from esper_core.api import EsperError
from esper_studies import Trained

#: Of the budget, in shares, what is spent before each growth.
GROW_AT = (0.1, 0.2, 0.3, 0.4)

#: Batches that the statistics of a growth are taken over. They cost more than training does on as many samples.
STATISTICS = 4


def train(resolved: Resolved, options: Mapping[str, Any]) -> Trained:
    """Train the host of a configuration until its budget of FLOPs is spent, and widen it on the way.

    Args:
        resolved: the configuration, which must have a budget, and the plugins.
        options: ``method`` (``tiny`` or ``gradmax``) and ``parameters``, how many the network is to have in the end.

    Raises:
        EsperError: E402 if the host cannot be widened; E202 without a budget.
    """
    loop = own_loop(resolved.configuration, resolved.plugins)
    if loop.budget is None:
        raise EsperError("E202", "the trainer neurons needs a budget", where="flops", fix="--set flops=1e9")
    height, width = loop.splits.train.inputs.shape[-2:]
    torch.manual_seed(loop.seed)
    network = NeuronNetwork(loop.model, (int(height), int(width)))
    return _Training(loop, network, Method(options["method"]), int(options["parameters"]), loop.budget).trained()


@define
class _Training:
    loop: OwnLoop
    network: NeuronNetwork
    method: Method
    parameters: int
    budget: float
    spent: float = 0
    optimizer: torch.optim.Optimizer = field(init=False)
    grown: list[Mapping[str, Any]] = field(factory=list)

    def trained(self) -> Trained:
        """Train, and measure the test split once."""
        self.optimizer = self.loop.optimizer(self.network)
        epoch, validation = 0, self.loop.scores(self.network, "validation")
        while self.spent < self.budget:
            self._grow_if_due(epoch)
            cost = self.loop.epoch_flops(self._forward)
            self.loop.begin(epoch, self.spent / self.budget, cost / self.budget)
            self._train(epoch)
            validation = self.loop.scores(self.network, "validation")
            self.spent += cost
            epoch += 1
        test = self.loop.scores(self.network, "test")
        return Trained(
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            validation_loss=validation.loss,
            parameters=parameter_count(self.network),
            forward_flops=self._forward,
            flops=int(self.spent),
            epochs=epoch,
            grown=tuple(self.grown),
        )

    def _train(self, epoch: int) -> None:
        self.network.train()
        for step, (inputs, targets) in enumerate(self.loop.batches(epoch)):
            rate = self.loop.rate(epoch, step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self.loop.task.losses(self.network(inputs), targets).mean()
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward([loss])
            if (limit := self.loop.optimizer_config.clip_norm) is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), limit)
            self.optimizer.step()

    def _grow_if_due(self, epoch: int) -> None:
        """Statistics are taken over the first batches of the epoch before; what they cost is spent."""
        done = len(self.grown)
        if epoch == 0 or done == len(GROW_AT) or self.spent / self.budget < GROW_AT[done]:
            return
        missing = round((self.parameters - parameter_count(self.network)) / self.network.channel_parameters)
        channels = round(missing / (len(GROW_AT) - done))
        if channels < 1:
            self.grown.append({"epoch": epoch, "asked": 0, "widths": [*self.network.widths]})
            return
        before, state = _named(self.network), self.optimizer.state
        seen = [*islice(self.loop.batches(epoch - 1), STATISTICS)]
        passes = self.loop.training_flops(self._forward, sum(len(targets) for _, targets in seen))
        found = self.network.grow(self.method, channels, seen, self.loop.task)
        self.spent += found.flops + passes
        self.optimizer = self.loop.optimizer(self.network)
        for name, parameter in self.network.named_parameters():
            if name in before and before[name] in state:
                self.optimizer.state[parameter] = _padded(state[before[name]], parameter)
        self.grown.append({"epoch": epoch, "asked": channels, "added": found.added, "widths": [*self.network.widths]})

    @property
    def _forward(self) -> int:
        counted = forward_flops(self.network, self.loop.splits.train.inputs[0])
        assert counted is not None
        return counted


def _named(network: nn.Module) -> dict[str, nn.Parameter]:
    return dict(network.named_parameters())


def _padded(state: Mapping[str, Any], parameter: nn.Parameter) -> dict[str, Any]:
    """An optimizer's state of a parameter that has grown at the ends of its axes: zero where it is new."""
    found = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.ndim == parameter.ndim and value.ndim:
            wider = torch.zeros_like(parameter)
            wider[tuple(slice(0, size) for size in value.shape)] = value
            found[name] = wider
        else:
            found[name] = value
    return found
