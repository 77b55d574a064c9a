"""Wrong tasks, one for each check."""

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Generator, Tensor
from torch.nn import functional as F

from esper_core.api import DataShape, Split, Splits, TargetKind, TaskKind
from esper_core.specs import TaskSpec
from esper_testing import TaskSubject


class Right:
    """A right task: vectors of 4 numbers and 3 classes; each mutant spoils one thing."""

    shape = DataShape(kind=TaskKind.VECTORS, input_shape=(4,), outputs=3)
    random_guess_loss = math.log(3)

    def __init__(self, config: None = None) -> None:
        pass

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "mutant", "samples": 40}

    def load(self) -> Splits:
        inputs = torch.randn(40, 4, generator=Generator().manual_seed(0))
        targets = torch.arange(40) % 3
        parts = (slice(0, 20), slice(20, 30), slice(30, 40))
        train, validation, test = (Split(inputs=inputs[part], targets=targets[part]) for part in parts)
        return Splits(train=train, validation=validation, test=test)

    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        return inputs + torch.randn(inputs.shape, generator=generator)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) == targets).float()


class RightInNumbers(Right):
    """A right regression; it has no accuracy."""

    shape = DataShape(kind=TaskKind.VECTORS, input_shape=(4,), outputs=2, targets=TargetKind.NUMBERS)
    random_guess_loss = 1.0

    def load(self) -> Splits:
        splits = super().load()
        targets = torch.randn(40, 2, generator=Generator().manual_seed(1))
        shares = (slice(0, 20), slice(20, 30), slice(30, 40))
        mean, deviation = targets[:20].mean(dim=0), targets[:20].std(dim=0, correction=0)
        train, validation, test = (
            evolve(split, targets=(targets[share] - mean) / deviation)
            for split, share in zip((splits.train, splits.validation, splits.test), shares, strict=True)
        )
        return Splits(train=train, validation=validation, test=test)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs - targets).square().sum(dim=1)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.full((len(targets),), math.nan)


class HasOneAxisOfNumbers(RightInNumbers):
    def load(self) -> Splits:
        splits = super().load()
        return evolve(splits, train=evolve(splits.train, targets=splits.train.targets[:, 0]))


class HasNumbersInNoScale(RightInNumbers):
    def load(self) -> Splits:
        splits = super().load()
        return evolve(splits, train=evolve(splits.train, targets=splits.train.targets + 3.0))


class GivesErrorsForAccuracy(RightInNumbers):
    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).abs().mean(dim=1) + 1.0


class HasNoTest(Right):
    def load(self) -> Splits:
        splits = super().load()
        return evolve(splits, test=Split(inputs=splits.test.inputs[:0], targets=splits.test.targets[:0]))


class LoadsDoubles(Right):
    def load(self) -> Splits:
        splits = super().load()
        return evolve(splits, train=evolve(splits.train, inputs=splits.train.inputs.double()))


class CountsClassesFromOne(Right):
    def load(self) -> Splits:
        splits = super().load()
        return evolve(splits, train=evolve(splits.train, targets=splits.train.targets + 1))


class TestsOnTrainingData(Right):
    def load(self) -> Splits:
        splits = super().load()
        inputs = torch.cat([splits.test.inputs[1:], splits.train.inputs[:1]])
        return evolve(splits, test=evolve(splits.test, inputs=inputs))


class ShufflesAnew(Right):
    draws = 0

    def load(self) -> Splits:
        ShufflesAnew.draws += 1
        order = torch.randperm(20, generator=Generator().manual_seed(ShufflesAnew.draws))
        splits = super().load()
        return evolve(splits, train=evolve(splits.train, inputs=splits.train.inputs[order]))


class SeedsGlobally(Right):
    def load(self) -> Splits:
        torch.manual_seed(0)
        return super().load()


class SaysTheTime(Right):
    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "mutant", "at": time.perf_counter()}


class Averages(Right):
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)


class CountsErrors(Right):
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) != targets).float()


class NormalisesOverBatch(Right):
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().losses(outputs, targets) / len(targets)


class SaysBits(Right):
    random_guess_loss = math.log2(3)


class Counts(Right):
    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 100.0 * super().correct(outputs, targets)


class TakesSmallest(Right):
    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().correct(-outputs, targets)


class Crops(Right):
    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        return inputs[:, 1:]


class DrawsGlobally(Right):
    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        return inputs + torch.randn(inputs.shape)


class ChangesBatch(Right):
    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        return inputs.mul_(0.0)


class NormalisesLargeBatches(Right):
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().losses(outputs, targets) / (2 if len(targets) > 16 else 1)


class LooksAtItsNeighbour(Right):
    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        found = super().correct(outputs, targets)
        return found * (0.5 if len(found) == 33 else 1.0)


class ScalesOutputs(Right):
    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().correct(outputs.data.mul_(0.5), targets)


class AugmentsLessLater(Right):
    def __init__(self, config: Any = None) -> None:
        self.calls = 0

    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        self.calls += 1
        return super().augment(inputs, generator) if self.calls < 60 else inputs


class KeepsLosses(Right):
    def __init__(self, config: Any = None) -> None:
        self.seen: list[Any] = []

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        found = super().losses(outputs, targets)
        self.seen.append(found.tolist() * 20)
        return found


class OrdersClassesBySet(Right):
    def load(self) -> Splits:
        names = {"cat", "dog", "bird"}
        order = torch.tensor([sorted(names).index(name) for name in names])
        splits = super().load()
        return evolve(splits, train=evolve(splits.train, targets=order[splits.train.targets]))


@frozen(kw_only=True)
class Options:
    """Of tasks, one that uses them and one that does not."""

    noise: float = 0.5


class UsesNoise(Right):
    def __init__(self, config: Options) -> None:
        self.noise = config.noise

    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        return inputs + self.noise * torch.randn(inputs.shape, generator=generator)


class IgnoresNoise(UsesNoise):
    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        return Right.augment(self, inputs, generator)


def optional(factory: Any) -> TaskSubject:
    return TaskSubject(spec=TaskSpec(name="mutant", summary="Wrong.", factory=factory, host="any", config=Options))


def subject(factory: Any) -> TaskSubject:
    return TaskSubject(spec=TaskSpec(name="mutant", summary="Wrong.", factory=factory, host="any"))


RIGHT = [subject(Right), subject(RightInNumbers), optional(UsesNoise)]

MUTANTS = {
    "task-splits": [
        (subject(HasNoTest), "the test split: 0 inputs and 0 targets"),
        (subject(LoadsDoubles), "the train split: inputs of torch.float64"),
        (subject(CountsClassesFromOne), "classes or tokens outside of 0 to 2"),
        (subject(HasOneAxisOfNumbers), r"the train split: targets of shape \(20,\)"),
    ],
    "task-splits-disjoint": [(subject(TestsOnTrainingData), "10.0 % of the test samples also occur in the train")],
    "task-repeatable": [
        (subject(ShufflesAnew), "loaded again, the train split is another one"),
        (subject(SeedsGlobally), "loading changed torch's global generator"),
    ],
    "task-identity": [(subject(SaysTheTime), "the identity of the same data is")],
    "task-losses": [
        (subject(Averages), "for 6 samples the losses are"),
        (subject(CountsErrors), "the first loss has no gradient in its own sample's output"),
        (subject(NormalisesOverBatch), "alone a sample's loss is"),
    ],
    "task-random-guess": [
        (subject(SaysBits), "random_guess_loss is 1.585, equal logits or outputs of zero lose 1.099"),
        (subject(HasNumbersInNoScale), "random_guess_loss is 1, equal logits or outputs of zero lose 10"),
    ],
    "task-correct": [
        (subject(Counts), "for random outputs of 6 samples|for right outputs of 6 samples"),
        (subject(TakesSmallest), "no more correct than outputs that exclude them"),
        (subject(GivesErrorsForAccuracy), "for 6 samples `correct` gives"),
    ],
    "task-augment": [
        (subject(Crops), r"a batch \(6, 4\) of torch.float32 became \(6, 3\)"),
        (subject(DrawsGlobally), "it changed torch's global generator"),
        (subject(ChangesBatch), "the batch that was given has changed"),
    ],
    "task-any-batch": [
        (subject(NormalisesLargeBatches), "samples 0 to 0 have another loss among 64 than among 1"),
        (subject(LooksAtItsNeighbour), "samples 0 to 32 have another metric among 64 than among 33"),
    ],
    "component-input-untouched": [(subject(ScalesOutputs), "have changed")],
    "component-many-calls": [(subject(AugmentsLessLater), r"it does something else than in its first use: \[0\]")],
    "component-memory": [(subject(KeepsLosses), "bytes more with each use")],
    "component-processes": [(subject(OrdersClassesBySet), "in two processes")],
    "component-options-used": [(optional(IgnoresNoise), "with noise = .* all is as with 0.5")],
}
