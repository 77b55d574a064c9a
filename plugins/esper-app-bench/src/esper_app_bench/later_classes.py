"""The trainer `later-classes`: a host learns some classes, and then others arrive, which it learns without the first.

The first training is that of the bare host, the same for all arms of a random seed. What comes then is a run on the
data of the new classes, under the policy of the configuration, which begins with that host's weights.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from attrs import evolve
from torch import Tensor, nn

from esper_app.api import OwnLoop, Resolved, RunConfig, own_loop, scores, train_on
from esper_core.adapting import forward_flops, parameter_count
from esper_core.api import EsperError, FieldReport, Split, Splits
from esper_studies import Trained


def train(resolved: Resolved, options: Mapping[str, Any]) -> Trained:
    """Train on old classes, then on what the options say, and measure on both.

    Args:
        resolved: the configuration: of the second training, but for the random seed and the host, which are of both.
        options: ``old_classes``, how many classes are there from the beginning; ``learns``: ``new`` or ``all``, the
            classes that the second training has, or None for none; ``first_epochs`` and ``first_rate``, epochs and
            learning rate of the first training.

    Returns:
        Figures of the second training: its operations alone, losses and accuracies over the test split of all classes,
        and the validation loss on the classes that it has learned from. `Trained.further` has, each as loss in nats and
        as accuracy, the new classes (``new``), the old ones before and after (``before``, ``old``), and the old ones
        where the network is told that it can only be one of them (``told_before``, ``told``).

    Raises:
        EsperError: E302 for targets that are no classes, or where a side has none; and what keeps a run from beginning.
        RuntimeError: if the governor has stopped a training.
    """
    loop, old = own_loop(resolved.configuration, resolved.plugins), int(options["old_classes"])
    known, new = (_classes(loop.splits, wanted) for wanted in (lambda it: it < old, lambda it: it >= old))
    begun = train_on(_first(resolved, options), resolved.plugins, known)
    begun.raise_if_stopped()
    further = _knowledge(loop, known.test, begun.network, old, "before", "told_before")
    end, spent = begun, cast("int | None", 0)
    if options["learns"] is not None:
        learned = loop.splits if options["learns"] == "all" else new
        weights = {name: it.clone() for name, it in begun.network.state_dict().items()}
        end = train_on(resolved.configuration.config, resolved.plugins, learned, weights)
        end.raise_if_stopped()
        spent = end.final.compute.total
    nothing = end is begun
    cost = forward_flops(end.network, loop.splits.train.inputs[0])
    if spent is None or cost is None:
        raise EsperError("E202", "the host's operations cannot be counted", where="host", fix="choose another host")
    test, fresh = (scores(loop.task, split, end.network) for split in (loop.splits.test, new.test))
    further |= {"new_loss": fresh.loss, "new_accuracy": fresh.accuracy}
    return Trained(
        test_loss=test.loss,
        test_accuracy=test.accuracy,
        validation_loss=scores(loop.task, new.validation, end.network).loss if nothing else end.validation_loss,
        parameters=parameter_count(end.network),
        forward_flops=cost,
        flops=spent,
        epochs=0 if nothing else end.final.epochs,
        grown=tuple(_seed(it) for it in end.final.seeds),
        further=further | _knowledge(loop, known.test, end.network, old, "old", "told"),
    )


def _first(resolved: Resolved, options: Mapping[str, Any]) -> RunConfig:
    """The first training: of the bare host, with an epoch count and a learning rate of its own."""
    config = resolved.configuration.config
    return evolve(
        config,
        policy=evolve(config.policy, name="null", options={}),
        optimizer=evolve(config.optimizer, lr=float(options["first_rate"])),
        epochs=int(options["first_epochs"]),
        flops=None,
    )


def _seed(report: FieldReport) -> dict[str, Any]:
    stage = report.final_stage.name
    return {"slot": report.slot, "blueprint": report.blueprint, "epoch": report.germinated_epoch, "stage": stage}


def _classes(splits: Splits, wanted: Callable[[Tensor], Tensor]) -> Splits:
    """Return the samples of some classes."""
    found = {}
    for name in ("train", "validation", "test"):
        split: Split = getattr(splits, name)
        if split.targets.is_floating_point() or split.targets.ndim != 1:
            raise EsperError("E302", "the task has no classes", where=f"{name} split", fix="choose a task with classes")
        chosen = wanted(split.targets)
        found[name] = Split(inputs=split.inputs[chosen], targets=split.targets[chosen])
    return Splits(**found)


def _knowledge(loop: OwnLoop, split: Split, network: nn.Module, old: int, free: str, told: str) -> dict[str, float]:
    """Loss and accuracy on the old classes, among all classes and among the old ones alone, under these names."""
    found = {free: scores(loop.task, split, network), told: scores(loop.task, split, _Told(network, old))}
    return {f"{name}_{figure}": getattr(it, figure) for name, it in found.items() for figure in ("loss", "accuracy")}


class _Told(nn.Module):
    """A network that knows that a sample is of one of the first classes: (B, ...) -> (B, old) logits."""

    def __init__(self, network: nn.Module, old: int) -> None:
        super().__init__()
        self._network, self._old = network, old

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self._network(inputs)
        return outputs[:, : self._old]
