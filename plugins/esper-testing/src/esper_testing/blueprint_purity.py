"""What a blueprint's residual update may depend on: its own parameters and h, sample by sample, and nothing else."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from esper_core.leyline.specs import BlueprintSpec, Capability
from esper_testing.blueprint_checks import expect_same
from esper_testing.blueprint_subject import BlueprintSubject, update
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect

CONTRACT = CheckLevel.CONTRACT


@check("blueprint-input-untouched", BlueprintSpec.kind, CONTRACT)
def input_untouched(subject: BlueprintSubject) -> None:
    """Forward leaves h as it is, and the update shares no memory with it: the host still needs h."""
    for site in subject.sites:
        for module in (subject.build(site), subject.awake(site)):
            h = subject.activation(site)
            before = h.clone()
            delta = update(module, h)
            delta.add_(1.0)
            if not torch.equal(h, before):
                raise CheckFailure(
                    f"{site.id}: h changed in forward, or with the update",
                    cause="an operation in place on h (`inplace=True`, `+=`), or a view of h as update",
                    fix="work on new tensors",
                )


@contextmanager
def _no_ambient_randomness(where: str) -> Iterator[None]:
    before = random.getstate(), repr(np.random.get_state()), torch.get_rng_state()
    yield
    after = random.getstate(), repr(np.random.get_state()), torch.get_rng_state()
    same = (before[0] == after[0], before[1] == after[1], torch.equal(before[2], after[2]))
    if not all(same):
        moved = [name for name, kept in zip(("random", "numpy.random", "torch"), same, strict=True) if not kept]
        raise CheckFailure(
            f"{where} moved the global generator of {', '.join(moved)}",
            cause="a draw, such as dropout or torch.randn, or a call that sets a generator's seed",
            fix="draw only from torch's generator and only while the seed is built, or declare Capability.RANDOM",
        )


@check("blueprint-forward-deterministic", BlueprintSpec.kind, CONTRACT)
def forward_deterministic(subject: BlueprintSubject) -> None:
    """Forward draws no random numbers and gives the same update twice, so that a host with a seed can be replayed.

    A blueprint that declares `Capability.RANDOM` may draw from torch's generator in training mode.
    """
    modes = (False,) if Capability.RANDOM in subject.spec.capabilities else (False, True)
    for site in subject.sites:
        for training in modes:
            module, h = subject.awake(site).train(training), subject.activation(site)
            with _no_ambient_randomness(f"{site.id}: forward"):
                first, second = update(module, h), update(module, h)
            if not torch.equal(first, second):
                raise CheckFailure(
                    f"{site.id}: two forward passes of the same h differ",
                    cause="a counter, a cache or a generator of the module's own",
                    fix="compute the update from h and the parameters alone",
                )


@check("blueprint-build-reproducible", BlueprintSpec.kind, CONTRACT)
def build_reproducible(subject: BlueprintSubject) -> None:
    """Two seeds built from the same state of torch's generator are equal; no other generator is used."""
    for site in subject.sites:
        with _no_ambient_randomness(f"{site.id}: building a seed under a forked generator"):
            first, second = subject.build(site, seed=5), subject.build(site, seed=5)
        states = first.state_dict(), second.state_dict()
        if states[0].keys() != states[1].keys() or not all(torch.equal(v, states[1][k]) for k, v in states[0].items()):
            raise CheckFailure(
                f"{site.id}: two seeds built with the same random state differ",
                cause="initialisation from another source: time, hash order, a generator of its own",
                fix="initialise with torch's functions, which use torch's generator",
            )


@check("blueprint-stateless", BlueprintSpec.kind, CONTRACT)
def stateless(subject: BlueprintSubject) -> None:
    """Forward changes nothing in the module: no running statistics, no counters; training and evaluation agree.

    Activation checkpointing runs forward twice, and measurements run it on other samples: what it remembers would
    depend on who looked.
    """
    for site in subject.sites:
        module, h = subject.awake(site).train(), subject.activation(site)
        state = {name: value.clone() for name, value in module.state_dict().items()}
        before = update(module, h)
        update(module, 3 * subject.activation(site, batch=5, seed=1) + 2)
        changed = [name for name, value in module.state_dict().items() if not torch.equal(value, state[name])]
        later, evaluated = update(module, h), update(module.eval(), h)
        random_in_training = Capability.RANDOM in subject.spec.capabilities
        if changed or not (random_in_training or (torch.equal(before, later) and torch.equal(later, evaluated))):
            raise CheckFailure(
                f"{site.id}: forward changed {', '.join(changed) or 'what the module computes later, or in eval mode'}",
                cause="batch normalisation or another running statistic",
                fix="normalise within a sample: GroupNorm, LayerNorm",
            )


@check("blueprint-samples-independent", BlueprintSpec.kind, CONTRACT)
def samples_independent(subject: BlueprintSubject) -> None:
    """The update of a sample does not depend on the other samples of its batch.

    Counterfactual measurement puts variants of a sample side by side in one batch.
    """
    for site in subject.sites:
        module, h = subject.awake(site).eval(), subject.activation(site, batch=4)
        together = update(module, h)
        for i in range(len(h)):
            expect_same(
                together[i : i + 1],
                update(module, h[i : i + 1]),
                f"{site.id}: sample {i} has another update alone than in a batch of {len(h)}",
                cause="a mean, a norm or an attention that runs over the batch axis",
                fix="reduce over the axes behind the first only",
            )


@check("blueprint-causal", BlueprintSpec.kind, CONTRACT)
def causal(subject: BlueprintSubject) -> None:
    """Where the site is causal, position t's update does not depend on later positions.

    A causal language model with a seed that looks ahead learns to copy its own targets.
    """
    for site in subject.sites:
        if not site.causal:
            continue
        module, h = subject.awake(site).eval(), subject.activation(site)
        before = update(module, h)
        for t in range(1, h.shape[1]):
            changed = h.clone()
            changed[:, t:] = subject.activation(site, seed=t)[:, t:]
            expect_same(
                update(module, changed)[:, :t],
                before[:, :t],
                f"{site.id}: positions before {t} notice a change from position {t} on",
                cause="attention without a causal mask, or a reduction over the time axis",
                fix="honour `site.causal`",
            )


#: The checks of this module in order.
PURITY_CHECKS: tuple[Check, ...] = collect(globals())
