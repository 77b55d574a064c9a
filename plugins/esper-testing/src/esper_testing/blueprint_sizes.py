"""What a blueprint's residual update must be at every size: widths, lengths, heights and batches."""

from collections.abc import Iterator

import torch
from attrs import evolve
from torch import Tensor, nn

from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import BlueprintSpec
from esper_testing.blueprint_checks import expect_same, expect_update
from esper_testing.blueprint_subject import BlueprintSubject, gradients, update
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.usage import picture

CONTRACT = CheckLevel.CONTRACT

#: Numbers of channels or features: each small one, odd ones, powers of two and their neighbours, large ones.
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 9, 13, 16, 17, 31, 33, 48, 64, 65, 96, 127, 192, 257, 384)

#: Heights and widths, or lengths, as far as 64 and beyond.
LARGE: dict[Layout, tuple[tuple[int, ...], ...]] = {
    Layout.NCHW: ((1, 1), (1, 64), (33, 17), (40, 40)),
    Layout.BTD: ((1,), (33,), (64,), (130,), (257,)),
    Layout.BD: ((),),
}

#: Numbers of samples.
BATCHES = (1, 2, 5, 16, 33, 64, 100)

#: The length of sequences in which a leak is looked for, and the positions from which on they are changed.
LENGTH, POSITIONS = 257, (1, 2, 3, 5, 16, 31, 64, 100, 128, 129, 193, 240, 255, 256)


def wide_sites(subject: BlueprintSubject) -> Iterator[tuple[Site, nn.Module]]:
    """Yield a site of every width and layout with an awake seed, but for widths that the blueprint refuses (E404)."""
    for site in subject.one_site_per_layout:
        for width in WIDTHS:
            shape = {Layout.NCHW: (width, 3, 5), Layout.BTD: (5, width), Layout.BD: (width,)}[site.layout]
            wide = evolve(site, id=f"{site.layout}-{width}", width=width, sample_shape=shape)
            try:
                yield wide, subject.awake(wide)
            except EsperError as error:
                if error.code != "E404":
                    raise


@check("blueprint-any-width", BlueprintSpec.kind, CONTRACT)
def any_width(subject: BlueprintSubject) -> None:
    """At every width, small, odd or large, a seed is right or is refused with E404 when it is built.

    Right is: at birth the update is exactly zero, in training and in evaluation; after training it is finite, of h's
    shape, and a learnable one is not zero everywhere. Widths up to 384 are tried. A blueprint always passes that builds
    its layers from `site.width` and ends in a gain of zero.
    """
    for site, module in wide_sites(subject):
        h = subject.activation(site, batch=2)
        for training in (True, False):
            expect_zero(update(subject.build(site).train(training), h), site.id)
        delta = update(module, h)
        expect_update(delta, h, f"{site.id}, after training")
        if subject.spec.learnable and not delta.any():
            raise CheckFailure(
                f"{site.id}: the update is zero whatever the parameters are",
                cause="groups of one channel, a rank or a number of hidden features that is rounded to zero",
                fix="round up to at least one, or refuse such a width: esper_core.nn.require_features",
            )


@check("blueprint-wide-gradient", BlueprintSpec.kind, CheckLevel.TRAINING)
def wide_gradient(subject: BlueprintSubject) -> None:
    """At every width that it takes, a learnable seed has a first gradient that is finite and not zero.

    A seed that starts at zero could otherwise never leave it there. A blueprint always passes of which exactly one
    factor is zero at birth, the last one.
    """
    for site, _ in wide_sites(subject) if subject.spec.learnable else ():
        found = gradients(subject.build(site), subject.activation(site)).values()
        if not any(g is not None and bool(g.isfinite().all()) and bool(g.any()) for g in found):
            raise CheckFailure(
                f"{site.id}: no parameter has a non-zero, finite gradient at birth",
                cause="a normalisation over one element, or a second factor that is zero at this width",
                fix="make only the last factor zero, or refuse such a width: esper_core.nn.require_features",
            )


def expect_zero(delta: Tensor, where: str) -> None:
    """Raise a CheckFailure unless the update of a newborn seed is zero."""
    if not torch.equal(delta, torch.zeros_like(delta)):
        raise CheckFailure(
            f"{where}: at birth the update has magnitudes up to {delta.abs().max().item():.3g}",
            cause="a gain or a last layer that is zero for some sizes only",
            fix="end in esper_core.nn.BoundedGain at every size, and return what is added to h, not the sum",
        )


@check("blueprint-zero-at-any-size", BlueprintSpec.kind, CONTRACT)
def zero_at_any_size(subject: BlueprintSubject) -> None:
    """At birth the update is exactly zero for long and large activations, for many samples, and for any values.

    Values tried are ordinary, zero, tiny and large. A blueprint always passes that ends in a factor of zero, for zero
    times what is finite is zero.
    """
    for site in subject.sites:
        module = subject.build(site)
        for size in LARGE[site.layout]:
            expect_zero(update(module, subject.activation(site, batch=2, size=size)), f"{site.id} with size {size}")
        for batch in BATCHES:
            expect_zero(update(module, subject.activation(site, batch=batch)), f"{site.id} with {batch} samples")
        for scale in (0.0, 1e-6, 1e3):
            h = scale * subject.activation(site)
            expect_zero(update(module, h), f"{site.id} with h of size {scale:g}")


@check("blueprint-any-batch", BlueprintSpec.kind, CONTRACT)
def any_batch(subject: BlueprintSubject) -> None:
    """A sample has the same update in batches of 1 to 100 samples, at every place, and in long and large activations.

    Differences below 0.01 % are rounding; a blueprint that computes each sample by itself always passes.
    """
    for site in subject.sites:
        module = subject.awake(site).eval()
        for size in (None, LARGE[site.layout][-1]):
            whole = subject.activation(site, batch=BATCHES[-1], size=size)
            together = update(module, whole)
            for batch in BATCHES[:-1]:
                for begin in (0, len(whole) - batch):
                    part = slice(begin, begin + batch)
                    expect_same(
                        update(module, whole[part]),
                        together[part],
                        f"{site.id}: samples {begin} to {begin + batch - 1} have another update among {len(whole)}",
                        cause="something that depends on the number of samples, or mixes samples that are far apart",
                        fix="reduce over the axes behind the first only",
                    )


@check("blueprint-causal-far", BlueprintSpec.kind, CONTRACT)
def causal_far(subject: BlueprintSubject) -> None:
    """Where the site is causal, no position's update depends on later ones, however far ahead: 257 positions are tried.

    From each of several positions on all is changed, by ten times its size. Differences below 0.01 % are rounding; a
    blueprint that masks what lies ahead, or looks at each position by itself, always passes.
    """
    for site in subject.sites:
        if not site.causal:
            continue
        for width in (site.width, 64):
            wide = evolve(site, width=width, sample_shape=(LENGTH, width))
            module, h = subject.awake(wide).eval(), subject.activation(wide, batch=2)
            before = update(module, h)
            for t in POSITIONS:
                changed = h.clone()
                changed[:, t:] = 10 * subject.activation(wide, batch=2, seed=t)[:, t:]
                expect_same(
                    update(module, changed)[:, :t],
                    before[:, :t],
                    f"{site.id}, width {width}: of {LENGTH} positions those before {t} notice a change from {t} on",
                    cause="a window, a shift or a mask that lets later positions in where sequences are long",
                    fix="honour `site.causal` at every length: make the mask from h.shape",
                )


@check("blueprint-names", BlueprintSpec.kind, CONTRACT)
def names(subject: BlueprintSubject) -> None:
    """A seed follows from what its site is, not from what it is called: under other names it is the same.

    A blueprint always passes that uses layout, width, shape and what else describes the site.
    """
    for site in subject.sites:
        called = evolve(site, id="z-17", path="encoder.layers.17.out")
        states = [picture([*subject.build(it, seed=5).state_dict().items()]) for it in (site, called)]
        updates = [update(subject.awake(it).eval(), subject.activation(site)) for it in (site, called)]
        if states[0] != states[1] or not torch.equal(*updates):
            raise CheckFailure(
                f"{site.id}: at a site of another name, and else the same, another seed is built",
                cause="a condition on the site's id or path, or a random stream that is named by it",
                fix="use site.layout, site.width, site.order and site.depth; draw from torch's generator",
            )


#: The checks of this module in order.
SIZE_CHECKS: tuple[Check, ...] = collect(globals())
