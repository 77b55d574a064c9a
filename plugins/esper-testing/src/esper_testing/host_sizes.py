"""What a host must do with data of other sizes: batches, images, lengths, numbers of classes."""

from collections.abc import Iterator

import torch
from attrs import evolve
from torch import Tensor

from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import DataShape, HostBuild, TaskKind
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import Capability, HostSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, check, collect
from esper_testing.host_subject import HostSubject, outputs_of, watching

CONTRACT = CheckLevel.CONTRACT

#: Shapes of samples that are tried beside the subject's own.
SHAPES: dict[TaskKind, tuple[tuple[int, ...], ...]] = {
    TaskKind.IMAGES: ((1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 33, 17)),
    TaskKind.TOKENS: ((2,), (33,), (64,)),
    TaskKind.VECTORS: ((1,), (2,), (33,), (96,)),
}

#: Numbers of classes, or sizes of vocabularies.
OUTPUTS = (2, 3, 64, 96)

#: Numbers of samples.
BATCHES = (1, 3, 7, 33, 64)

#: Length of sequences in which a leak is looked for, and the positions from which on they are changed.
LENGTH, POSITIONS = 130, (1, 2, 7, 33, 64, 100, 129)


def of_other_sizes(subject: HostSubject) -> Iterator[HostSubject]:
    """Yield the host for data of other sizes, each as far as it does not refuse them with an EsperError."""
    shapes = [evolve(subject.data, input_shape=shape) for shape in SHAPES[subject.data.kind]]
    for data in [*shapes, *(evolve(subject.data, outputs=outputs) for outputs in OUTPUTS)]:
        other = evolve(subject, data=data)
        try:
            other.build()
        except EsperError:
            continue
        yield other


@check("host-any-data", HostSpec.kind, CONTRACT)
def any_data(subject: HostSubject) -> None:
    """Whatever the data's size is, the host gives finite logits of the right shape, or is refused when it is built.

    Tried are odd, small and larger images, sequences and vectors, and other numbers of classes, in batches of 1, 3 and
    33. A host always passes that takes every size from `data`, or raises an EsperError for what it is not made for.
    Tokens are below the subject's own number of outputs: a classifier of documents has a vocabulary of its own.
    """
    for other in of_other_sizes(subject):
        module = other.build().module
        for size in (1, 3, 33):
            inputs = other.batch(size)
            if other.data.kind is TaskKind.TOKENS:
                inputs = inputs % subject.data.outputs
            found = outputs_of(module, inputs)
            expected: list[tuple[int, ...]] = [(size, other.data.outputs)]
            if other.data.kind is TaskKind.TOKENS:
                expected.append((size, *other.data.input_shape, other.data.outputs))
            if not isinstance(found, Tensor) or tuple(found.shape) not in expected or not bool(found.isfinite().all()):
                raise CheckFailure(
                    f"for {size} samples of {_told(other.data)} the output is {_shape(found)}, expected finite "
                    f"{' or '.join(map(str, expected))}",
                    cause="a size that is written down, a squeeze, or a division by what is zero for small data",
                    fix="take sizes from `data`, or refuse what does not fit with an EsperError E402",
                )


def _told(data: DataShape) -> str:
    return f"{data.input_shape} with {data.outputs} classes"


def _shape(found: object) -> str:
    return str(tuple(found.shape)) if isinstance(found, Tensor) else type(found).__name__


@check("host-any-batch", HostSpec.kind, CONTRACT, exempts={Capability.FIXED_BATCH})
def any_batch(subject: HostSubject) -> None:
    """In evaluation a sample has the same logits in batches of 1 to 64, at every place, unless FIXED_BATCH is declared.

    Differences below 0.1 % are rounding; a host that computes each sample by itself always passes.
    """
    build = subject.build()
    if Capability.FIXED_BATCH in build.capabilities:
        raise NotApplicable("this build declares fixed-batch")
    whole = subject.batch(BATCHES[-1])
    together = outputs_of(build.module, whole)
    for size in BATCHES[:-1]:
        for begin in (0, len(whole) - size):
            part = outputs_of(build.module, whole[begin : begin + size])
            if not torch.allclose(part, together[begin : begin + size], rtol=1e-3, atol=1e-4):
                raise CheckFailure(
                    f"samples {begin} to {begin + size - 1} have other logits among {len(whole)}",
                    cause="something that depends on the number of samples, or mixes samples that are far apart",
                    fix="reduce over the axes behind the first only, or declare Capability.FIXED_BATCH",
                )


@check("host-causal-far", HostSpec.kind, CONTRACT)
def causal_far(subject: HostSubject) -> None:
    """Where a site is declared causal, no position depends on later tokens, however far ahead: 130 are tried.

    Differences below 0.1 % are rounding; a host that masks what lies ahead always passes, and one that is not made for
    such lengths, and says so with an EsperError when it is built, is not asked.
    """
    if subject.data.kind is not TaskKind.TOKENS:
        raise NotApplicable("its data are no tokens")
    long = evolve(subject, data=evolve(subject.data, input_shape=(LENGTH,)))
    try:
        build = long.build()
    except EsperError as error:
        raise NotApplicable(f"it is not made for {LENGTH} tokens: {error.what}") from error
    sites = tuple(site for site in long.sites(build) if site.causal)
    if not sites:
        raise NotApplicable("it declares no causal sites")
    inputs = long.batch(2)
    before = _activations(build, sites, inputs)
    for t in POSITIONS:
        changed = torch.cat([inputs[:, :t], (inputs[:, t:] + 1) % long.data.outputs], dim=1)
        for name, h in _activations(build, sites, changed).items():
            if not torch.allclose(h[:, :t], before[name][:, :t], rtol=1e-3, atol=1e-4):
                raise CheckFailure(
                    f"{name} is declared causal, and of {LENGTH} positions those before {t} notice later ones",
                    cause="a window, a shift or a mask that lets later positions in where sequences are long",
                    fix="make the mask from the length at hand, or do not declare the site causal",
                )


def _activations(build: HostBuild, sites: tuple[Site, ...], tokens: Tensor) -> dict[str, Tensor]:
    with watching(build.module, sites) as seen:
        outputs_of(build.module, tokens)
    return seen


#: The checks of this module in order.
SIZE_CHECKS: tuple[Check, ...] = collect(globals())
