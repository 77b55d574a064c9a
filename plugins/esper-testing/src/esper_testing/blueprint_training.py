"""How a blueprint's residual update must learn: its gradients, and its size in isolated training."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import BlueprintSpec
from esper_testing.blueprint_checks import expect_update
from esper_testing.blueprint_subject import BlueprintSubject, gradients, rms, update
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect

TRAINING = CheckLevel.TRAINING


@check("blueprint-first-gradient", BlueprintSpec.kind, TRAINING)
def first_gradient(subject: BlueprintSubject) -> None:
    """The first gradient is finite and not zero for at least one parameter: a seed that starts at zero can leave it."""
    for site in subject.trained_sites:
        found = gradients(subject.build(site), subject.activation(site))
        if not any(g is not None and bool(g.isfinite().all()) and bool(g.any()) for g in found.values()):
            raise CheckFailure(
                f"{site.id}: no parameter has a non-zero, finite gradient at birth",
                cause="two factors that are both zero, or zeros in front of a ReLU or a normalisation",
                fix="make exactly one factor zero: the last one, behind the non-linearity",
            )


@check("blueprint-every-parameter-learns", BlueprintSpec.kind, TRAINING)
def every_parameter_learns(subject: BlueprintSubject) -> None:
    """After one optimizer step every parameter has a non-zero gradient: none is dead weight."""
    for site in subject.trained_sites:
        module, h = subject.build(site), subject.activation(site, batch=8)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        gradients(module, h)
        optimizer.step()
        dead = [name for name, g in gradients(module, h, seed=1).items() if g is None or not g.any()]
        if dead:
            raise CheckFailure(
                f"{site.id}: after one step there is still no gradient for {', '.join(dead)}",
                cause="a parameter that forward does not use, or one behind two zeros",
                fix="take unused parameters out; make only the last factor zero at birth",
            )


@check("blueprint-finite-gradients", BlueprintSpec.kind, TRAINING)
def finite_gradients(subject: BlueprintSubject) -> None:
    """Update and gradients stay finite where h is all zero, constant, tiny or large, in either memory format.

    Behind a ReLU whole channels are zero for some samples.
    """
    for site in subject.trained_sites:
        noise = subject.activation(site)
        for name, h in {
            "zero": torch.zeros_like(noise),
            "constant": torch.ones_like(noise),
            "tiny": 1e-12 * noise,
            "large": 1e4 * noise,
            "channels_last": noise if site.layout is not Layout.NCHW else noise.to(memory_format=torch.channels_last),
        }.items():
            module, h = subject.awake(site), h.clone(memory_format=torch.preserve_format).requires_grad_()
            expect_update(update(module, h), h, f"{site.id} with h {name}")
            found = {"h": None, **gradients(module, h)} | {"h": h.grad}
            broken = [key for key, g in found.items() if g is not None and not bool(g.isfinite().all())]
            if broken:
                raise CheckFailure(
                    f"{site.id}: with h {name} the gradient is NaN or infinite for {', '.join(broken)}",
                    cause="a root or a division whose argument becomes zero",
                    fix="add a small constant inside the root, as normalisations do",
                )


@check("blueprint-isolated", BlueprintSpec.kind, TRAINING)
def isolated(subject: BlueprintSubject) -> None:
    """A seed that is given a detached h sends no gradient to the host, also after it has seen an attached one."""
    for site in subject.trained_sites:
        module = subject.awake(site)
        host = subject.activation(site).requires_grad_()
        module(2 * host)
        module((2 * host).detach()).sum().backward()
        if host.grad is not None:
            raise CheckFailure(
                f"{site.id}: a detached h still led to a gradient in the host",
                cause="the module keeps a tensor of an earlier forward pass",
                fix="compute the update from this call's h alone",
            )


OptimizerFactory = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]

OPTIMIZERS: dict[str, OptimizerFactory] = {
    "SGD (0.1, momentum 0.9)": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
    "AdamW (0.01)": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
}


@check("blueprint-bounded", BlueprintSpec.kind, TRAINING)
def bounded(subject: BlueprintSubject) -> None:
    """Isolated training does not blow the update up: rms(delta) / rms(h) stays within the subject's limit.

    In isolation the loss does not see the update, so nothing but the module's own construction holds it back: the
    gradient says for ever "more of this".
    """
    for site in subject.one_site_per_layout if subject.spec.learnable else ():
        for name, optimizer in OPTIMIZERS.items():
            ratio = _isolated_ratio(subject, site, optimizer, steps=100)
            if not ratio <= subject.rms_limit:
                raise CheckFailure(
                    f"{site.id}: after 100 isolated steps of {name} rms(delta)/rms(h) is {ratio:.3g}, "
                    f"over {subject.rms_limit:g}",
                    cause="an output without a bound, or one bounded by two factors that both grow",
                    fix="end in a normalisation without parameters and esper_core.nn.BoundedGain",
                )


def _isolated_ratio(subject: BlueprintSubject, site: Site, optimizer: OptimizerFactory, steps: int) -> float:
    """Train straight-through in front of a fixed linear classifier and return rms(delta) / rms(h)."""
    generator = torch.Generator().manual_seed(0)
    module, h = subject.build(site), subject.activation(site, batch=32)
    labels = torch.randint(10, (32,), generator=generator).to(h.device)
    head = torch.randn(h[0].numel(), 10, generator=generator).to(h) / h[0].numel() ** 0.5
    training = optimizer(module.parameters())
    for _ in range(steps):
        delta = module(h)
        training.zero_grad()
        loss: Tensor = F.cross_entropy((h + (delta - delta.detach())).flatten(1) @ head, labels)
        torch.autograd.backward(loss)
        training.step()
    return rms(update(module, h)) / rms(h)


#: The checks of this module in order.
TRAINING_CHECKS: tuple[Check, ...] = collect(globals())
