"""What a host must be: a sound network whose declared sites are really there and really matter."""

import torch
from torch import Tensor

from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import HostBuild, TaskKind
from esper_core.leyline.specs import Capability, HostSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, check, collect
from esper_testing.host_subject import HostSubject, loss_of, outputs_of, watching
from esper_testing.surroundings import watched

CONTRACT, TRAINING = CheckLevel.CONTRACT, CheckLevel.TRAINING


def capabilities(subject: HostSubject, build: HostBuild) -> frozenset[Capability]:
    """What descriptor and build declare together."""
    return subject.spec.capabilities | build.capabilities


@check("host-output", HostSpec.kind, CONTRACT)
def output(subject: HostSubject) -> None:
    """The host gives finite logits for batches of 1, 2 and 5 samples: (B, outputs), or (B, T, outputs) for tokens.

    A host for tokens may give either: a class for the whole sequence, or one for each position.
    """
    module = subject.build().module
    for size in (1, 2, 5):
        found = outputs_of(module, subject.batch(size))
        expected: list[tuple[int, ...]] = [(size, subject.data.outputs)]
        if subject.data.kind is TaskKind.TOKENS:
            expected.insert(0, (size, *subject.data.input_shape, subject.data.outputs))
        if not isinstance(found, Tensor) or tuple(found.shape) not in expected or not bool(found.isfinite().all()):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise CheckFailure(
                f"for {size} samples the output is {shape}, expected finite {' or '.join(map(str, expected))}",
                cause="a head of another width, a squeeze, or several outputs",
                fix="return one tensor of logits, `data.outputs` of them along the last axis",
            )


@check("host-build-reproducible", HostSpec.kind, CONTRACT)
def build_reproducible(subject: HostSubject) -> None:
    """Two hosts built from the same state of torch's generator have equal weights: a twin is built like this."""
    one, two = (subject.build(seed=5).module.state_dict() for _ in range(2))
    if one.keys() != two.keys() or not all(torch.equal(value, two[name]) for name, value in one.items()):
        raise CheckFailure(
            "two hosts built with the same random state differ",
            cause="initialisation from another source: time, hash order, a generator of its own",
            fix="initialise with torch's functions, which use torch's generator",
        )


@check("host-sites", HostSpec.kind, CONTRACT)
def sites(subject: HostSubject) -> None:
    """Each declared site fires exactly once and gives one floating tensor; they are declared in execution order.

    Their layouts are those that the descriptor names, so that a run can tell beforehand which blueprints fit.
    """
    build = subject.build()
    try:
        found = subject.sites(build)
    except EsperError as error:
        raise CheckFailure(
            f"{error.what}: {error.why}",
            cause="a module that is shared, called twice or not at all, or a path with a slip",
            fix=error.fix or "choose another submodule",
        ) from error
    declared = [request.path for request in build.sites]
    layouts = {site.layout for site in found}
    if not found or [site.path for site in found] != declared or not layouts <= subject.spec.layouts:
        raise CheckFailure(
            f"declared {declared} with layouts {sorted(subject.spec.layouts)}; "
            f"fired {[site.path for site in found]} with {sorted(layouts)}",
            cause="no site at all, another order than that of the forward pass, or a layout that is not declared",
            fix="list the sites in the order in which they fire, and name their layouts in the descriptor",
        )


@check("host-site-gradient", HostSpec.kind, CONTRACT)
def site_gradient(subject: HostSubject) -> None:
    """The loss depends on the activation of every site, and the site on the weights before it.

    A seed at a site without a gradient would learn nothing.
    """
    build = subject.build()
    with watching(build.module, subject.sites(build)) as seen:
        torch.autograd.backward(loss_of(build.module(subject.batch())))
    dead = [name for name, h in seen.items() if h.grad is None or not bool(h.grad.isfinite().all() and h.grad.any())]
    if dead:
        raise CheckFailure(
            f"no finite, non-zero gradient reaches {', '.join(dead)}",
            cause="an activation that is detached, made under no_grad, or whose result is not used",
            fix="put the site on the way from the input to the logits",
        )


@check("host-parameters-learn", HostSpec.kind, TRAINING)
def parameters_learn(subject: HostSubject) -> None:
    """Every trainable parameter has a finite, non-zero gradient within a few steps: also those before every site."""
    module = subject.build().module
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    pending = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    for step in range(4):
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(module(subject.batch(8, seed=step)), seed=step))
        for name, parameter in module.named_parameters():
            gradient = parameter.grad
            if gradient is not None and bool(gradient.isfinite().all()) and bool(gradient.any()):
                pending.discard(name)
        optimizer.step()
    if pending:
        raise CheckFailure(
            f"in four steps no finite, non-zero gradient for {', '.join(sorted(pending))}",
            cause="a layer that forward does not use, or that stands behind a detach",
            fix="take it out, or put it on the way to the logits",
        )


@check("host-forward-deterministic", HostSpec.kind, CONTRACT)
def forward_deterministic(subject: HostSubject) -> None:
    """In evaluation the same batch gives the same logits, nothing in the host changes, and no number is drawn."""
    module, inputs = subject.build().module, subject.batch()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with watched() as changed:
        first = outputs_of(module, inputs)
        outputs_of(module, subject.batch(3, seed=1))
        second = outputs_of(module, inputs)
    after = module.state_dict()
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    if changed or moved or not torch.equal(first, second):
        raise CheckFailure(
            f"in evaluation, forward changed {', '.join([*changed, *moved]) or 'its own result'}",
            cause="dropout or statistics that do not look at self.training, a counter, or a cache",
            fix="make forward in evaluation a function of its input and the weights",
        )


@check("host-samples-independent", HostSpec.kind, CONTRACT, exempts={Capability.FIXED_BATCH})
def samples_independent(subject: HostSubject) -> None:
    """In evaluation a sample's logits do not depend on the others of its batch, unless FIXED_BATCH is declared.

    Counterfactual measurement puts variants of a sample side by side in one batch.
    """
    build, inputs = subject.build(), subject.batch(5)
    if Capability.FIXED_BATCH in build.capabilities:
        raise NotApplicable("this build declares fixed-batch")
    together = outputs_of(build.module, inputs)
    alone = torch.cat([outputs_of(build.module, inputs[i : i + 1]) for i in range(len(inputs))])
    if not torch.allclose(together, alone, rtol=1e-3, atol=1e-4):
        raise CheckFailure(
            f"alone a sample has other logits than in a batch (by {(together - alone).abs().max().item():.3g})",
            cause="a mean, a norm or an attention over the batch axis",
            fix="reduce over the axes behind the first only, or declare Capability.FIXED_BATCH",
        )


@check("host-batch-statistics", HostSpec.kind, CONTRACT)
def batch_statistics(subject: HostSubject) -> None:
    """BATCH_STATISTICS is declared exactly if training forward passes change the host's buffers (BatchNorm)."""
    build = subject.build()
    before = {name: value.clone() for name, value in build.module.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        build.module.train()(subject.batch())
    keeps = any(not torch.equal(value, before[name]) for name, value in build.module.named_buffers())
    declared = Capability.BATCH_STATISTICS in capabilities(subject, build)
    if keeps != declared:
        raise CheckFailure(
            f"training {'changes' if keeps else 'changes no'} buffers, and batch-statistics is "
            f"{'' if declared else 'not '}declared",
            cause="BatchNorm, or a declaration that holds for some options only",
            fix="declare the capability in the HostBuild of those options, not in the descriptor",
        )


@check("host-causal", HostSpec.kind, CONTRACT)
def causal(subject: HostSubject) -> None:
    """Where a site is declared causal, position t of its activation does not depend on later tokens."""
    build, inputs = subject.build(), subject.batch(2)
    found = tuple(site for site in subject.sites(build) if site.causal)
    if not found or subject.data.kind is not TaskKind.TOKENS:
        raise NotApplicable("it declares no causal sites")
    middle = inputs.shape[1] // 2
    changed = torch.cat([inputs[:, :middle], (inputs[:, middle:] + 1) % subject.data.outputs], dim=1)
    seen: list[dict[str, Tensor]] = []
    for tokens in (inputs, changed):
        with watching(build.module, found) as activations:
            outputs_of(build.module, tokens)
        seen.append({name: h[:, :middle] for name, h in activations.items()})
    for name, before in seen[0].items():
        if not torch.allclose(before, seen[1][name], rtol=1e-3, atol=1e-4):
            raise CheckFailure(
                f"{name} is declared causal, and its first {middle} positions notice a change of later tokens",
                cause="attention without a mask, or a reduction over the time axis before the site",
                fix="mask the attention, or do not declare the site causal",
            )


#: The checks of this module in order.
HOST_CHECKS: tuple[Check, ...] = collect(globals())
