"""Every blueprint check catches the blueprint that it was written against, and lets a right one pass."""

import copy
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
import torch
from attrs import field, frozen, validators
from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.api import Layout, Site
from esper_core.nn import BoundedGain, group_count
from esper_core.specs import BlueprintSpec, Capability
from esper_testing import CHECKS, BlueprintSubject, Check, CheckFailure, NotApplicable
from esper_testing.component_uses import USE_CHECKS


class Right(nn.Module):
    """A right blueprint for images and sequences; each mutant spoils one thing."""

    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__()
        self.site = site
        image = site.layout is Layout.NCHW
        self.mix = nn.Conv2d(site.width, site.width, 1) if image else nn.Linear(site.width, site.width)
        self.gain = BoundedGain(site.width, site.layout)

    def normalise(self, y: Tensor) -> Tensor:
        if self.site.layout is Layout.NCHW:
            return F.group_norm(y, group_count(self.site.width))
        return F.layer_norm(y, y.shape[-1:])

    def forward(self, h: Tensor) -> Any:
        return self.gain(self.normalise(self.mix(h)), h)


class ReturnsTwo(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h), None


class HalvesAndDoubles(Right):
    def forward(self, h: Tensor) -> Any:
        return F.interpolate(super().forward(F.max_pool2d(h, 2, ceil_mode=True)), scale_factor=2)


class SqueezesBatch(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h).squeeze(0)


class AcceptsOneFeature(Right):
    """Layer normalisation over a single feature: always zero."""


class StartsAtOne(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        nn.init.ones_(self.gain.gain)


class LeavesChannelsLast(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h).contiguous()


class StaysBfloat16(Right):
    def forward(self, h: Tensor) -> Any:
        return self.mix(h) * self.gain.gain.view(-1, 1, 1).bfloat16()


class ChangesInput(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h.detach().relu_())


class DropsOut(Right):
    def forward(self, h: Tensor) -> Any:
        return F.dropout(super().forward(h), 0.1)


class DrawsItsOwnNumbers(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        entropy = torch.Generator().manual_seed(int.from_bytes(os.urandom(4)))
        self.mix.weight = nn.Parameter(torch.randn(self.mix.weight.shape, generator=entropy))


class KeepsRunningStatistics(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        self.norm = nn.BatchNorm2d(site.width, affine=False)

    def normalise(self, y: Tensor) -> Tensor:
        return self.norm(y)


class MixesSamples(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h - h.mean(dim=0, keepdim=True))


class LooksAhead(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h + h.mean(dim=1, keepdim=True))


class HidesNothing(Right):
    def forward(self, h: Tensor, mask: Tensor | None = None) -> Any:
        return super().forward(h + h.mean(dim=1, keepdim=True))


class TakesPaddingForReal(Right):
    def forward(self, h: Tensor, mask: Tensor | None = None) -> Any:
        return super().forward(h if mask is None else h.masked_fill(mask.unsqueeze(-1), 1.0))


class DividesByNothing(Right):
    def forward(self, h: Tensor, mask: Tensor | None = None) -> Any:
        real = torch.ones_like(h[:, :, :1]) if mask is None else mask.unsqueeze(-1).float()
        return super().forward(h + (h * real).sum(1, keepdim=True) / real.sum(1, keepdim=True))


class ZeroTwice(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)


class HasUnusedParameter(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        self.unused = nn.Parameter(torch.ones(1))


class TakesRoots(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h.abs().sqrt())


class RemembersActivation(Right):
    seen: Tensor | None = None

    def forward(self, h: Tensor) -> Any:
        before, self.seen = self.seen, h
        return super().forward(h if before is None or before.shape != h.shape else (h + before) / 2)


class Unbounded(nn.Sequential):
    """The usual residual branch with its last layer at zero: nothing limits it in isolation."""

    def __init__(self, site: Site, config: None = None) -> None:
        last = nn.Conv2d(16, site.width, 3, padding=1, bias=False)
        nn.init.zeros_(last.weight)
        super().__init__(nn.Conv2d(site.width, 16, 3, padding=1), nn.ReLU(), last)


class FreeGains(nn.Module):
    """A learnable normalisation in front of a free gain: each makes the other's gradient grow."""

    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__()
        self.mix = nn.Conv2d(site.width, site.width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(2, site.width)
        self.gain = nn.Parameter(torch.zeros(site.width, 1, 1))

    def forward(self, h: Tensor) -> Tensor:
        return self.gain * self.norm(self.mix(h)).relu()


class SmallOnMeta(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        if self.mix.weight.is_meta:
            self.mix = nn.Conv2d(site.width, site.width, 1, groups=site.width)


class CopiesToItself(Right):
    def __deepcopy__(self, memo: dict[int, Any]) -> "CopiesToItself":
        return self


class PicklesToNewborn(Right):
    def __reduce__(self) -> Any:
        return type(self), (self.site,)


class HidesWeights(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        self.scale = torch.rand(site.width, 1, 1)

    def forward(self, h: Tensor) -> Any:
        return super().forward(h) * self.scale


class KnowsCompiler(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h) * (2 if torch.compiler.is_compiling() else 1)


class KnowsExporter(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h) * (2 if torch.compiler.is_exporting() else 1)


class StartsAtOneWhereWide(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        if site.width > 100:
            nn.init.ones_(self.gain.gain)


class HasNoHalfOfOne(Right):
    """Its hidden features are half of the width, rounded down."""

    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        self.hidden = site.width // 4

    def normalise(self, y: Tensor) -> Tensor:
        return super().normalise(y) * (1 if self.hidden else 0)


class StandsStillWhereOdd(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h) if h.shape[1] % 2 == 0 else super().forward(h) * self.gain.gain.view(-1, 1, 1)


class ActsWhereLong(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h) + (1e-3 * h if h.shape[1] > 100 else 0.0)


class ActsOnManySamples(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h) + (1e-3 * h if len(h) >= 64 else 0.0)


class SeesFarNeighbour(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h + (torch.roll(h, 20, dims=0) if len(h) > 40 else 0.0))


class LooksFarAhead(Right):
    def forward(self, h: Tensor) -> Any:
        return super().forward(h + (torch.roll(h, -70, dims=1) if h.shape[1] > 128 else 0.0))


class KnowsItsPath(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        if site.path.startswith("encoder"):
            nn.init.zeros_(self.mix.bias)


class TiresAfterMany(Right):
    calls = 0

    def forward(self, h: Tensor) -> Any:
        self.calls += 1
        return super().forward(h) * (0.5 if self.calls > 150 else 1.0)


class KeepsActivations(Right):
    def forward(self, h: Tensor) -> Any:
        vars(self).setdefault("seen", []).append(h.mean())
        return super().forward(h)


class OrdersLayersBySet(Right):
    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__(site)
        # Not a ParameterDict, which sorts what it is given.
        for name in {"a", "b", "c", "d"}:
            self.register_parameter(name, nn.Parameter(torch.ones(1)))


@frozen(kw_only=True)
class Options:
    """Of blueprints, one that uses them and one that does not."""

    rank: int = 4


class HasNoRank(Right):
    def __init__(self, site: Site, config: Options) -> None:
        super().__init__(site)
        self.rank = config.rank


class HasScale(Right):
    """Right: of its two options one changes how fast it is, and says so."""

    def __init__(self, site: Site, config: "Scale") -> None:
        super().__init__(site)
        self.config = config

    def forward(self, h: Tensor) -> Any:
        parts = h.chunk(self.config.parts)
        return torch.cat([super(HasScale, self).forward(part) for part in parts]) * self.config.scale


@frozen(kw_only=True)
class Scale:
    """Of `HasScale`."""

    scale: float = 0.5
    parts: int = field(default=1, metadata={"esper_unseen": "memory"}, validator=validators.ge(1))


def subject(factory: Callable[..., nn.Module], layouts: Iterable[Layout] = (Layout.NCHW,), **fields: Any) -> Any:
    spec = BlueprintSpec(name="mutant", summary="Wrong.", layouts=layouts, factory=factory, **fields)
    return BlueprintSubject(spec=spec)


@frozen
class Mutant:
    """A wrong blueprint and a part of what must be said about it."""

    subject: BlueprintSubject
    message: str


TEXT = (Layout.BTD,)


def masked(factory: Callable[..., nn.Module]) -> Any:
    return subject(factory, TEXT, capabilities={Capability.PADDING_MASK})


MUTANTS: dict[str, list[Mutant]] = {
    "blueprint-shape": [Mutant(subject(ReturnsTwo), "forward returned tuple")],
    "blueprint-any-size": [Mutant(subject(HalvesAndDoubles), r"with size \(1, 1\): h is")],
    "blueprint-single-sample": [Mutant(subject(SqueezesBatch), "with one sample: h is")],
    "blueprint-narrow-site": [Mutant(subject(AcceptsOneFeature, TEXT), "zero whatever the parameters are")],
    "blueprint-zero-at-birth": [Mutant(subject(StartsAtOne), "at birth the update has magnitudes")],
    "blueprint-memory-format": [Mutant(subject(LeavesChannelsLast), "h is channels_last, the update is not")],
    "blueprint-autocast": [Mutant(subject(StaysBfloat16), r"float32, the update .* torch.bfloat16")],
    "blueprint-input-untouched": [Mutant(subject(ChangesInput), "h changed in forward")],
    "blueprint-forward-deterministic": [Mutant(subject(DropsOut), "global generator of torch")],
    "blueprint-build-reproducible": [Mutant(subject(DrawsItsOwnNumbers), "same random state differ")],
    "blueprint-stateless": [Mutant(subject(KeepsRunningStatistics), "norm.running_mean")],
    "blueprint-samples-independent": [Mutant(subject(MixesSamples), "another update alone than in a batch")],
    "blueprint-causal": [Mutant(subject(LooksAhead, TEXT), "notice a change from position 1 on")],
    "blueprint-padding-mask": [
        Mutant(masked(HidesNothing), "real positions notice what stands in padding"),
        Mutant(masked(TakesPaddingForReal), "the update is another one than without a mask"),
        Mutant(masked(DividesByNothing), "nothing but padding: the update holds NaN"),
    ],
    "blueprint-first-gradient": [Mutant(subject(ZeroTwice), "no parameter has a non-zero, finite gradient")],
    "blueprint-every-parameter-learns": [Mutant(subject(HasUnusedParameter), "no gradient for unused")],
    "blueprint-finite-gradients": [Mutant(subject(TakesRoots), "with h zero the gradient is NaN or infinite for h")],
    "blueprint-isolated": [Mutant(subject(RemembersActivation), "a detached h still led to a gradient")],
    "blueprint-bounded": [
        Mutant(subject(Unbounded), "after 100 isolated steps"),
        Mutant(subject(FreeGains), "after 100 isolated steps"),
    ],
    "blueprint-learnable": [Mutant(subject(Right, learnable=False), "the seed has some trainable parameters")],
    "blueprint-cost": [Mutant(subject(SmallOnMeta), "on the meta device 24 parameters")],
    "blueprint-deepcopy": [Mutant(subject(CopiesToItself), "changing a copy's parameters changed the original")],
    "blueprint-pickle": [Mutant(subject(PicklesToNewborn), "after pickling the seed computes something else")],
    "blueprint-state-round-trip": [Mutant(subject(HidesWeights), "restored from its state dict computes")],
    "blueprint-compiles": [Mutant(subject(KnowsCompiler), "compiled, the seed computes something else")],
    "blueprint-exports": [Mutant(subject(KnowsExporter), "exported, the seed computes something else")],
    "blueprint-any-width": [
        Mutant(subject(StartsAtOneWhereWide), "NCHW-127: at birth the update has magnitudes"),
        Mutant(subject(HasNoHalfOfOne), "NCHW-1: the update is zero whatever the parameters are"),
    ],
    "blueprint-wide-gradient": [
        Mutant(subject(StandsStillWhereOdd), "no parameter has a non-zero, finite gradient at birth")
    ],
    "blueprint-zero-at-any-size": [
        Mutant(subject(ActsWhereLong, TEXT), r"with size \(130,\): at birth the update has magnitudes"),
        Mutant(subject(ActsOnManySamples), "with 64 samples: at birth the update has magnitudes"),
    ],
    "blueprint-any-batch": [Mutant(subject(SeesFarNeighbour), "have another update among 100")],
    "blueprint-causal-far": [Mutant(subject(LooksFarAhead, TEXT), "notice a change from")],
    "blueprint-names": [Mutant(subject(KnowsItsPath), "at a site of another name")],
}

#: Of what every component must do in use.
USED: dict[str, list[Mutant]] = {
    "component-input-untouched": [Mutant(subject(ChangesInput), "have changed")],
    "component-many-calls": [Mutant(subject(TiresAfterMany), "it does something else than in its first use")],
    "component-memory": [Mutant(subject(KeepsActivations), "bytes more with each use")],
    "component-processes": [Mutant(subject(OrdersLayersBySet), "in two processes")],
    "component-options-used": [Mutant(subject(HasNoRank, config=Options), "with rank = .* all is as with 4")],
}


def test_every_check_has_a_mutant() -> None:
    assert set(MUTANTS) == {check.id for check in CHECKS if check.kind == BlueprintSpec.kind}
    assert set(USED) == {check.id for check in USE_CHECKS}


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        pytest.param(check, mutant, id=f"{check.id}-{i}", marks=[pytest.mark.slow] if check.slow else [])
        for check in CHECKS
        for i, mutant in enumerate((MUTANTS | USED).get(check.id, ()))
    ],
)
def test_the_check_catches_its_mutant(check: Check, mutant: Mutant) -> None:
    with pytest.raises(CheckFailure, match=mutant.message) as failure:
        check(mutant.subject)
    assert failure.value.cause
    assert failure.value.fix


RIGHT = {"plain": subject(Right), "options": subject(HasScale, config=Scale)}


@pytest.mark.parametrize(
    ("check", "subject"),
    [
        pytest.param(check, right, id=f"{check.id}-{name}", marks=[pytest.mark.slow] if check.slow else [])
        for check in CHECKS
        for name, right in RIGHT.items()
        if check.applies_to(right.spec)
    ],
)
def test_a_right_blueprint_passes(check: Check, subject: BlueprintSubject) -> None:
    with suppress(NotApplicable):
        check(subject)


def test_a_blueprint_that_raises_fails_with_its_own_error() -> None:
    class Raises(Right):
        def forward(self, h: Tensor) -> Any:
            raise RuntimeError("no kernel for this")

    (shape,) = (check for check in CHECKS if check.id == "blueprint-shape")
    with pytest.raises(CheckFailure, match="RuntimeError: no kernel for this"):
        shape(subject(Raises))


def test_failures_survive_the_way_between_processes() -> None:
    failure = CheckFailure("seen", cause="cause", fix="fix")
    assert str(copy.copy(failure)) == "seen\n  likely cause: cause\n  fix: fix"
