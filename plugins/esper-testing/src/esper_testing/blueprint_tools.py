"""What must be possible with a seed module: copying, saving, costing, compiling, exporting."""

import copy
import pickle

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from esper_core.kasmina.cost import count_flops, parameter_count, seed_cost
from esper_core.leyline.specs import BlueprintSpec, Capability
from esper_testing.blueprint_checks import VALUE_CHECKS
from esper_testing.blueprint_masks import MASK_CHECKS
from esper_testing.blueprint_purity import PURITY_CHECKS
from esper_testing.blueprint_sizes import SIZE_CHECKS
from esper_testing.blueprint_subject import BlueprintSubject, update
from esper_testing.blueprint_training import TRAINING_CHECKS
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance

CONTRACT, TRAINING = CheckLevel.CONTRACT, CheckLevel.TRAINING


def _equal(module: nn.Module, other: nn.Module, h: Tensor, seen: str, *, cause: str, fix: str) -> None:
    if not torch.equal(update(module.eval(), h), update(other.eval(), h)):
        raise CheckFailure(seen, cause=cause, fix=fix)


@check("blueprint-learnable", BlueprintSpec.kind, CONTRACT)
def learnable(subject: BlueprintSubject) -> None:
    """A blueprint has trainable parameters exactly if its descriptor says that it is learnable."""
    for site in subject.sites:
        trainable = any(parameter.requires_grad for parameter in subject.build(site).parameters())
        if trainable != subject.spec.learnable:
            raise CheckFailure(
                f"{site.id}: learnable={subject.spec.learnable}, but the seed has {'some' if trainable else 'no'} "
                "trainable parameters",
                cause="parameters that are no nn.Parameter, or are made in forward; or a wrong descriptor",
                fix="create nn.Parameter in the constructor; learnable=False is for controls without any",
            )


@check("blueprint-cost", BlueprintSpec.kind, CONTRACT)
def cost(subject: BlueprintSubject) -> None:
    """Parameters and FLOPs computed on the meta device are those of the real seed: costs are never typed in.

    FLOPs are not compared where the blueprint declares `Capability.NO_EXPORT`: what cannot be traced cannot be counted.
    """
    countable = Capability.NO_EXPORT not in subject.spec.capabilities
    for site in subject.sites:
        real = subject.build(site)
        random_state = torch.get_rng_state()
        estimated = seed_cost(subject.make, site)
        if not torch.equal(random_state, torch.get_rng_state()):
            raise CheckFailure(
                f"{site.id}: computing the cost moved torch's generator",
                cause="an initialisation that draws on a fixed device",
                fix="initialise with functions that follow the parameter's device, such as those of nn.init",
            )
        flops = count_flops(real, subject.activation(site, batch=1)) if countable else estimated.forward_flops
        if (estimated.parameters, estimated.forward_flops) != (parameter_count(real), flops):
            raise CheckFailure(
                f"{site.id}: on the meta device {estimated.parameters} parameters and {estimated.forward_flops} FLOPs, "
                f"in truth {parameter_count(real)} and {flops}",
                cause="parameters or work that depend on values or on the device",
                fix="build the same layers on every device; create tensors without naming a device",
            )


@check("blueprint-deepcopy", BlueprintSpec.kind, CONTRACT)
def deepcopy(subject: BlueprintSubject) -> None:
    """`copy.deepcopy` gives an equal, independent seed."""
    for site in subject.sites:
        module, h = subject.awake(site), subject.activation(site)
        twin, before = copy.deepcopy(module), update(module.eval(), h)
        fix = "keep parameters in nn.Parameter and buffers, and nothing shared in closures or class attributes"
        _equal(module, twin, h, f"{site.id}: a copy computes something else", cause="state outside the module", fix=fix)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(1.0)
        if not torch.equal(update(module, h), before):
            raise CheckFailure(
                f"{site.id}: changing a copy's parameters changed the original", cause="shared tensors", fix=fix
            )


@check("blueprint-pickle", BlueprintSpec.kind, CONTRACT)
def pickles(subject: BlueprintSubject) -> None:
    """A seed survives pickling: executors send hosts to other processes."""
    for site in subject.sites:
        module, h = subject.awake(site), subject.activation(site)
        _equal(
            module,
            pickle.loads(pickle.dumps(module)),
            h,
            f"{site.id}: after pickling the seed computes something else",
            cause="state outside the module",
            fix="keep it in parameters or plain attributes; no lambdas or open files as attributes",
        )


@check("blueprint-state-round-trip", BlueprintSpec.kind, CONTRACT)
def state_round_trip(subject: BlueprintSubject) -> None:
    """The state dict, saved as safetensors and loaded strictly into a newly built seed, restores the seed."""
    for site in subject.sites:
        module, h = subject.awake(site), subject.activation(site)
        restored = subject.build(site, seed=1)
        restored.load_state_dict(load(save(module.state_dict())))
        _equal(
            module,
            restored,
            h,
            f"{site.id}: a seed restored from its state dict computes something else",
            cause="what was learned or drawn at birth is neither a parameter nor a persistent buffer",
            fix="use nn.Parameter or register_buffer for everything that the options do not determine",
        )


@check("blueprint-compiles", BlueprintSpec.kind, TRAINING, slow=True)
def compiles(subject: BlueprintSubject) -> None:
    """`torch.compile` captures forward and backward whole; the results are those of eager execution."""
    for site in subject.one_site_per_layout:
        module, h = subject.awake(site), subject.activation(site)
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
        results = []
        for call in (module, compiled):
            module.zero_grad(set_to_none=True)
            delta = call(h)
            if delta.requires_grad:
                delta.square().sum().backward()
            results.append([delta.detach(), *(p.grad for p in module.parameters() if p.grad is not None)])
        if not all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*results, strict=True)):
            raise CheckFailure(
                f"{site.id}: compiled, the seed computes something else",
                cause="Python state or side effects in forward, which are traced once",
                fix="make forward a function of h and the parameters",
            )
        torch.compiler.reset()


@check("blueprint-exports", BlueprintSpec.kind, CONTRACT, slow=True, exempts={Capability.NO_EXPORT})
def exports(subject: BlueprintSubject) -> None:
    """`torch.export` takes the seed with any batch size, unless it declares `Capability.NO_EXPORT`."""
    for site in subject.one_site_per_layout:
        module = subject.awake(site).eval()
        batch = ({0: torch.export.Dim.DYNAMIC},)
        exported = torch.export.export(module, (subject.activation(site),), dynamic_shapes=batch).module()
        h = subject.activation(site, batch=5, seed=1)
        if not torch.allclose(update(exported, h), update(module, h), rtol=1e-4, atol=1e-5):
            raise CheckFailure(
                f"{site.id}: exported, the seed computes something else",
                cause="a value that was read off the example batch and is now a constant",
                fix="take sizes from h.shape where they are used",
            )


#: The checks of this module in order.
TOOL_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(
    BlueprintSubject,
    (*VALUE_CHECKS, *SIZE_CHECKS, *PURITY_CHECKS, *MASK_CHECKS, *TRAINING_CHECKS, *TOOL_CHECKS),
)
