"""What a task must be: three sound and separate splits, and a loss and a metric for every sample."""

from math import isfinite

import torch
from torch import Tensor

from esper_core.leyline.protocols import DataShape, TargetKind, TaskKind
from esper_core.leyline.records import to_json
from esper_core.leyline.specs import TaskSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.surroundings import watched
from esper_testing.task_subject import BATCH, TaskSubject, batch_of, splits_of

CONTRACT = CheckLevel.CONTRACT

#: What stands in a token target where nothing is to be predicted.
NOTHING = -100


@check("task-splits", TaskSpec.kind, CONTRACT)
def splits(subject: TaskSubject) -> None:
    """Three splits that are not empty, of tensors as the task's `shape` says: axes, dtypes, finite inputs, classes."""
    task = subject.build()
    for name, split in splits_of(task).items():
        wrong = "; ".join(_wrong(task.shape, split.inputs, split.targets))
        if wrong:
            raise CheckFailure(
                f"the {name} split: {wrong}",
                cause="data that are not scaled or cast, or a shape that was written down for other data",
                fix="return float32 inputs or int64 tokens of `shape.input_shape`, int64 classes or float32 numbers",
            )


def _wrong(shape: DataShape, inputs: Tensor, targets: Tensor) -> list[str]:
    tokens = shape.kind is TaskKind.TOKENS
    if len(inputs) == 0 or len(inputs) != len(targets):
        return [f"{len(inputs)} inputs and {len(targets)} targets"]
    found = []
    if tuple(inputs.shape[1:]) != tuple(shape.input_shape):
        found.append(f"samples of shape {tuple(inputs.shape[1:])} where `shape` says {tuple(shape.input_shape)}")
    wanted = torch.float32 if _numbers(shape) else torch.int64
    if inputs.dtype != (torch.int64 if tokens else torch.float32) or targets.dtype != wanted:
        found.append(f"inputs of {inputs.dtype} and targets of {targets.dtype}")
    if tuple(targets.shape) != _target_shape(shape, inputs):
        found.append(f"targets of shape {tuple(targets.shape)}")
    if _numbers(shape) and not bool(targets.isfinite().all()):
        found.append("targets that are NaN or infinite")
    predicted = targets[targets != NOTHING] if tokens else targets
    classes = [] if _numbers(shape) else [predicted]
    values = [*classes, inputs.flatten()] if tokens else classes
    if any(v.numel() and (v.min() < 0 or v.max() >= shape.outputs) for v in values):
        found.append(f"classes or tokens outside of 0 to {shape.outputs - 1}")
    if not tokens and not bool(inputs.isfinite().all()):
        found.append("inputs that are NaN or infinite")
    return found


def _numbers(shape: DataShape) -> bool:
    return shape.targets is TargetKind.NUMBERS


def _target_shape(shape: DataShape, inputs: Tensor) -> tuple[int, ...]:
    if _numbers(shape):
        return (len(inputs), shape.outputs)
    return tuple(inputs.shape) if shape.kind is TaskKind.TOKENS else (len(inputs),)


@check("task-splits-disjoint", TaskSpec.kind, CONTRACT)
def splits_disjoint(subject: TaskSubject) -> None:
    """Hardly a sample occurs in two splits: gates decide on validation data, and the report's test data are unseen.

    Compared are the inputs, bit by bit; the share that is tolerated (1 %) is for duplicates in real data.
    """
    seen = {name: [_bytes(sample) for sample in split.inputs] for name, split in splits_of(subject.build()).items()}
    for name, other in (("validation", "train"), ("test", "train"), ("test", "validation")):
        known = set(seen[other])
        share = sum(sample in known for sample in seen[name]) / len(seen[name])
        if share > subject.overlap_limit:
            raise CheckFailure(
                f"{100 * share:.1f} % of the {name} samples also occur in the {other} split",
                cause="splits that are drawn one by one, or sequences that overlap",
                fix="shuffle the indices once and cut them, and cut text into documents before sequences",
            )


def _bytes(sample: Tensor) -> bytes:
    return sample.contiguous().numpy().tobytes()


@check("task-repeatable", TaskSpec.kind, CONTRACT)
def repeatable(subject: TaskSubject) -> None:
    """Loading twice, in one task or in two, gives the same samples in the same order, and moves no global generator."""
    with watched(("the warning filters", "the root logger", "the running threads", "the environment")) as changed:
        one, other = subject.build(), subject.build()
        loaded = [splits_of(task) for task in (one, one, other)]
    for name, split in loaded[0].items():
        for again in (loaded[1][name], loaded[2][name]):
            if not (torch.equal(split.inputs, again.inputs) and torch.equal(split.targets, again.targets)):
                raise CheckFailure(
                    f"loaded again, the {name} split is another one",
                    cause="a shuffle with a global generator, or the order of files as the system lists them",
                    fix="shuffle with a generator of a fixed seed, and sort file names",
                )
    if changed:
        raise CheckFailure(
            f"loading changed {', '.join(changed)}",
            cause="a global generator that is seeded or drawn from",
            fix="use numpy.random.default_rng(0) or torch.Generator().manual_seed(0)",
        )


@check("task-identity", TaskSpec.kind, CONTRACT)
def identity(subject: TaskSubject) -> None:
    """`identity` is plain data, not empty, and the same for the same data: a resumed run compares it."""
    found = [to_json(dict(subject.build().identity)) for _ in range(2)]
    if found[0] != found[1] or found[0] == "{}":
        raise CheckFailure(
            f"the identity of the same data is {found[0]} and {found[1]}"[:300],
            cause="a time, a path of a temporary folder, an object's id; or nothing at all",
            fix="give name, sizes and a digest of the data",
        )


@check("task-losses", TaskSpec.kind, CONTRACT)
def losses(subject: TaskSubject) -> None:
    """`losses` gives a finite, differentiable loss of each sample, which no other sample of the batch changes.

    Gates compare the losses of the same samples with and without a seed.
    """
    task = subject.build()
    outputs, targets = batch_of(task)
    found = task.losses(outputs, targets)
    if found.shape != (BATCH,) or not found.is_floating_point() or not bool(found.isfinite().all()):
        raise CheckFailure(
            f"for {BATCH} samples the losses are {found!r:.150}",
            cause="a mean over the batch, or over every token",
            fix='use reduction="none", and average over a sequence\'s own positions',
        )
    (gradient,) = torch.autograd.grad(found[0], outputs, allow_unused=True) if found.requires_grad else (None,)
    if gradient is None or not gradient[0].any() or gradient[1:].any():
        raise CheckFailure(
            "the first loss has no gradient in its own sample's output" + _or_others(gradient),
            cause="a detached or rounded value, or a term that all samples share",
            fix="compute each sample's loss from its own outputs with torch's functions",
        )
    one = task.losses(outputs[:1], targets[:1])
    if not torch.allclose(one, found[:1], rtol=1e-4, atol=1e-6):
        raise CheckFailure(
            f"alone a sample's loss is {one.item():.6g}, in a batch {found[0].item():.6g}",
            cause="a normalisation over the batch",
            fix="compute each sample's loss from its own outputs",
        )


def _or_others(gradient: Tensor | None) -> str:
    return ", or has one in others'" if gradient is not None and gradient[1:].any() else ""


@check("task-any-batch", TaskSpec.kind, CONTRACT)
def any_batch(subject: TaskSubject) -> None:
    """A sample has the same loss and the same metric in batches of 1 to 64, at every place.

    Differences below 0.01 % are rounding; a task that computes each sample by itself always passes.
    """
    task = subject.build()
    outputs, targets = batch_of(task, 64)
    outputs = outputs.detach()
    for name, function in {"loss": task.losses, "metric": task.correct}.items():
        together = function(outputs, targets)
        for size in (1, 2, 7, 33):
            for begin in (0, 64 - size):
                part = slice(begin, begin + size)
                found = function(outputs[part], targets[part])
                if found.shape != (size,) or not _same(found, together[part]):
                    raise CheckFailure(
                        f"samples {begin} to {begin + size - 1} have another {name} among 64 than among {size}",
                        cause="a normalisation or a limit that depends on the number of samples",
                        fix="compute each sample's loss and metric from its own outputs and targets",
                    )


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True)


@check("task-random-guess", TaskSpec.kind, CONTRACT)
def random_guess(subject: TaskSubject) -> None:
    """`random_guess_loss` is the loss of a model that knows nothing: within 20 % of that of equal logits.

    Where numbers are predicted, it is the loss of outputs of zero over the training split.
    """
    task = subject.build()
    outputs, targets = batch_of(task)
    if _numbers(task.shape):
        targets = task.load().train.targets
        outputs = torch.zeros(len(targets), task.shape.outputs)
    equal, stated = task.losses(torch.zeros_like(outputs), targets).mean().item(), task.random_guess_loss
    if not isfinite(stated) or abs(stated - equal) > 0.2 * abs(equal):
        raise CheckFailure(
            f"random_guess_loss is {stated:.4g}, equal logits or outputs of zero lose {equal:.4g}",
            cause="bits in place of nats, the number of classes of other data, or targets that are not centred",
            fix="math.log(shape.outputs) for cross entropy; half the variance of centred targets for 0.5 * (y - t)^2",
        )


@check("task-correct", TaskSpec.kind, CONTRACT)
def correct(subject: TaskSubject) -> None:
    """`correct` gives each sample a float from 0 to 1, larger for outputs that name the targets than for others.

    Where numbers are predicted, it may give NaN for every sample instead: there is no accuracy.
    """
    task = subject.build()
    outputs, targets = batch_of(task)
    if _numbers(task.shape):
        _require_shares_or_nothing(task.correct(outputs.detach(), targets))
        return
    classes = torch.arange(task.shape.outputs)
    right = 100.0 * (targets.unsqueeze(-1) == classes)
    for name, guess in {"random": outputs.detach(), "right": right, "wrong": -right}.items():
        found = task.correct(guess, targets)
        in_range = found.is_floating_point() and found.shape == (BATCH,) and bool(((found >= 0) & (found <= 1)).all())
        if not in_range:
            raise CheckFailure(
                f"for {name} outputs of {BATCH} samples `correct` gives {found!r:.150}",
                cause="a count, a boolean, or a mean over the batch",
                fix="return (B,) floats, for a sequence the share of its positions",
            )
    if not task.correct(right, targets).mean() > task.correct(-right, targets).mean():
        raise CheckFailure(
            "outputs that name the targets are no more correct than outputs that exclude them",
            cause="argmin for argmax, or the wrong axis",
            fix="compare outputs.argmax over the last axis with the targets",
        )


def _require_shares_or_nothing(found: Tensor) -> None:
    right = found.is_floating_point() and found.shape == (BATCH,)
    if not right or not (bool(found.isnan().all()) or bool(((found >= 0) & (found <= 1)).all())):
        raise CheckFailure(
            f"for {BATCH} samples `correct` gives {found!r:.150}",
            cause="an error in the units of the targets, or an accuracy of some samples only",
            fix="return NaN for every sample where there is no accuracy",
        )


@check("task-augment", TaskSpec.kind, CONTRACT)
def augment(subject: TaskSubject) -> None:
    """`augment` keeps shape and dtype, leaves its input alone, and draws from the given generator only.

    The same state of the generator gives the same batch: epochs can be repeated.
    """
    task = subject.build()
    inputs = task.load().train.inputs[:BATCH].clone()
    before = inputs.clone()
    with watched() as changed:
        one, two = (task.augment(inputs, torch.Generator().manual_seed(3)) for _ in range(2))
    if one.shape != inputs.shape or one.dtype != inputs.dtype:
        raise CheckFailure(
            f"a batch {tuple(inputs.shape)} of {inputs.dtype} became {tuple(one.shape)} of {one.dtype}",
            cause="a crop without padding, or arithmetic in another dtype",
            fix="pad before cropping; end in .to(inputs.dtype)",
        )
    if changed or not torch.equal(one, two):
        raise CheckFailure(
            f"it changed {', '.join(changed)}" if changed else "the same state of the generator gave two batches",
            cause="a draw that is not from `generator`",
            fix="pass generator=generator to every draw",
        )
    if not torch.equal(inputs, before):
        raise CheckFailure(
            "the batch that was given has changed",
            cause="an operation in place; the data stay in memory, so the next epoch would see it",
            fix="work on a copy",
        )


#: The checks of this module in order.
TASK_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(TaskSubject, TASK_CHECKS)
