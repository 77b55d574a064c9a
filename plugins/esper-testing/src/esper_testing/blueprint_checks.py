"""What a blueprint's residual update must be before anything is trained: its values."""

import torch
from torch import Tensor

from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import BlueprintSpec
from esper_testing.blueprint_subject import BlueprintSubject, rms, update
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect

CONTRACT = CheckLevel.CONTRACT

#: Sizes that a site's own sample shape does not show: height and width, or length.
SIZES: dict[Layout, tuple[tuple[int, ...], ...]] = {
    Layout.NCHW: ((1, 1), (1, 7), (5, 3), (9, 9)),
    Layout.BTD: ((1,), (2,), (7,), (33,)),
    Layout.BD: ((),),
}


def expect_update(delta: object, h: Tensor, where: str) -> None:
    """Raise a CheckFailure unless `delta` is a finite tensor of h's shape and dtype."""
    if not isinstance(delta, Tensor):
        raise CheckFailure(
            f"{where}: forward returned {type(delta).__name__}",
            cause="forward returns several things",
            fix="return the update alone, a tensor of h's shape",
        )
    if delta.shape != h.shape or delta.dtype != h.dtype:
        raise CheckFailure(
            f"{where}: h is {tuple(h.shape)} {h.dtype}, the update {tuple(delta.shape)} {delta.dtype}",
            cause="a stride, a missing padding or a changed width; for the dtype, a result under autocast",
            fix="keep every axis of h, and end forward in `.to(h.dtype)`",
        )
    if not bool(delta.isfinite().all()):
        raise CheckFailure(
            f"{where}: the update holds NaN or infinity",
            cause="a division by a spread that is zero, a logarithm or a root of what may be negative",
            fix="add a small constant where you divide, as normalisations do",
        )


def expect_same(actual: Tensor, expected: Tensor, seen: str, *, cause: str, fix: str, tolerance: float = 1e-4) -> None:
    """Raise a CheckFailure unless two tensors are the same but for rounding."""
    if not torch.allclose(actual, expected, rtol=tolerance, atol=tolerance):
        difference = (actual - expected).abs().max().item()
        raise CheckFailure(f"{seen} (largest difference {difference:.3g})", cause=cause, fix=fix)


@check("blueprint-shape", BlueprintSpec.kind, CONTRACT)
def shape(subject: BlueprintSubject) -> None:
    """The update is one finite tensor of h's shape and dtype, at birth and after training.

    The slot adds it to h; nothing may be broadcast or cast on the way.
    """
    for site in subject.sites:
        h = subject.activation(site)
        expect_update(update(subject.build(site), h), h, f"at birth, {site.id}")
        expect_update(update(subject.awake(site), h), h, f"after training, {site.id}")


@check("blueprint-any-size", BlueprintSpec.kind, CONTRACT)
def any_size(subject: BlueprintSubject) -> None:
    """A seed serves every height, width and length, odd ones and 1 included, not only those of the traced batch."""
    for site in subject.sites:
        module = subject.awake(site)
        for size in SIZES[site.layout]:
            h = subject.activation(site, size=size)
            expect_update(update(module, h), h, f"{site.id} with size {size}")


@check("blueprint-single-sample", BlueprintSpec.kind, CONTRACT)
def single_sample(subject: BlueprintSubject) -> None:
    """A batch of one sample is served like any other, in training mode too: the last batch of an epoch may be one."""
    for site in subject.sites:
        h = subject.activation(site, batch=1)
        expect_update(update(subject.awake(site).train(), h), h, f"{site.id} with one sample")


@check("blueprint-narrow-site", BlueprintSpec.kind, CONTRACT)
def narrow_site(subject: BlueprintSubject) -> None:
    """A site with a single channel or feature is served, or refused with the error E404 when the seed is built."""
    for layout in sorted(subject.spec.layouts):
        shape = {Layout.NCHW: (1, 5, 7), Layout.BTD: (5, 1), Layout.BD: (1,)}[layout]
        site = Site(id="narrow", path="narrow", layout=layout, width=1, sample_shape=shape)
        try:
            module = subject.awake(site)
        except EsperError as error:
            if error.code != "E404":
                raise
            continue
        h = subject.activation(site)
        expect_update(update(module, h), h, f"{layout} site of width 1")
        if subject.spec.learnable and not update(module, h).any():
            raise CheckFailure(
                f"on a {layout} site of width 1 the update is zero whatever the parameters are",
                cause="a normalisation over one feature, which always gives zero",
                fix="refuse such a site in the constructor: esper_core.nn.require_features",
            )


@check("blueprint-zero-at-birth", BlueprintSpec.kind, CONTRACT)
def zero_at_birth(subject: BlueprintSubject) -> None:
    """At birth the update is exactly zero, so that germination changes nothing that the host computes."""
    for site in subject.sites:
        for seed in range(3):
            delta = update(subject.build(site, seed), subject.activation(site, seed=seed))
            if not torch.equal(delta, torch.zeros_like(delta)):
                raise CheckFailure(
                    f"{site.id}: at birth the update has magnitudes up to {delta.abs().max().item():.3g}",
                    cause="the last layer is initialised at random, or h itself is part of the update",
                    fix="end in esper_core.nn.BoundedGain, and return what is added to h, not the sum",
                )


@check("blueprint-memory-format", BlueprintSpec.kind, CONTRACT)
def memory_format(subject: BlueprintSubject) -> None:
    """The update has h's memory format, contiguous or channels_last, and the same values in both.

    Another format would make the host's next convolution convert its input in every step.
    """
    for site in subject.sites:
        module, h = subject.awake(site), subject.activation(site)
        contiguous = update(module, h)
        if not contiguous.is_contiguous():
            raise _wrong_format(site, "contiguous")
        if site.layout is Layout.NCHW:
            other = update(module, h.contiguous(memory_format=torch.channels_last))
            if not other.is_contiguous(memory_format=torch.channels_last):
                raise _wrong_format(site, "channels_last")
            expect_same(
                other,
                contiguous,
                f"{site.id}: channels_last and contiguous inputs give different updates",
                cause="a view or flatten that takes the order in memory for the order of the axes",
                fix="use reshape, flatten and transpose on axes, never as_strided",
            )


def _wrong_format(site: Site, name: str) -> CheckFailure:
    return CheckFailure(
        f"{site.id}: h is {name}, the update is not",
        cause="a transpose, or a reshape to a matrix and back",
        fix="stay with operations that keep the format, or end in .contiguous(memory_format=...) of h's",
    )


@check("blueprint-autocast", BlueprintSpec.kind, CONTRACT)
def autocast(subject: BlueprintSubject) -> None:
    """Under bfloat16 autocast the update has h's dtype, float32 or bfloat16, and about the same values."""
    for site in subject.sites:
        module, h = subject.awake(site), subject.activation(site)
        exact = update(module, h)
        for dtype in (torch.float32, torch.bfloat16):
            with torch.autocast(subject.device, dtype=torch.bfloat16):
                rough = update(module, h.to(dtype))
            expect_update(rough, h.to(dtype), f"{site.id} under autocast")
            if rms(rough.float() - exact) > 0.1 * rms(exact):
                raise CheckFailure(
                    f"{site.id}: under bfloat16 autocast the update is off by more than 10 %",
                    cause="a sum or a difference of large numbers in bfloat16",
                    fix="compute that part in float32: esper_core.nn.full_precision",
                )


#: The checks of this module in order.
VALUE_CHECKS: tuple[Check, ...] = collect(globals())
