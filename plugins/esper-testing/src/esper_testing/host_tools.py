"""What must be possible with a host: carrying seeds, copying, saving, costing."""

import copy
import pickle

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from esper_core.kasmina.cost import count_flops, forward_flops, parameter_count
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import HostSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.host_checks import HOST_CHECKS
from esper_testing.host_sizes import SIZE_CHECKS
from esper_testing.host_subject import HostSubject, outputs_of

CONTRACT = CheckLevel.CONTRACT


class _Reversing(nn.Module):
    """A seed with one parameter whose update no normalisation takes out: half of h, its features in reverse."""

    def __init__(self, width_axis: int) -> None:
        super().__init__()
        self.axis = width_axis
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, h: Tensor) -> Tensor:
        return self.gain * h.flip(self.axis)


@check("host-carries-seeds", HostSpec.kind, CONTRACT)
def carries_seeds(subject: HostSubject) -> None:
    """A slot can come and go at every site: the host computes what it did before, and its state dict is as before.

    While the seed is in isolated training nothing changes either; once its update is added, the logits do.
    """
    build, inputs = subject.build(), subject.batch()
    plain, keys = outputs_of(build.module, inputs), list(build.module.state_dict())
    confirmed = subject.sites(build)
    model = prepare_root(build.module)
    slot_set = SlotSet(model, confirmed, torch.optim.SGD(model.parameters(), lr=0.1))
    _expect_plain(model, inputs, plain, "prepared for slots, none of which holds a seed,")
    for site in confirmed:
        seed = _Reversing(site.layout.width_axis)
        problem = slot_set.plant(site, f"{site.id}-0", seed, 0, random=False, learning_rate=0.1)
        if problem:
            raise CheckFailure(f"{site.id}: {problem}", cause="an unusual activation", fix="choose another site")
        slot_set.attach(site)
        _expect_plain(model, inputs, plain, f"with a seed in isolated training at {site.id}")
        _expect_effect(slot_set, model, inputs, plain, site)
        slot_set.uproot(site, f"{site.id}-0")
        _expect_plain(model, inputs, plain, f"after a seed at {site.id} has come and gone")
    if list(model.state_dict()) != keys:
        raise CheckFailure(
            f"the state dict has other keys: {sorted(set(keys) ^ set(model.state_dict()))[:5]}",
            cause="a state_dict or a registration of modules of the host's own",
            fix="leave both to nn.Module",
        )


def _expect_plain(model: nn.Module, inputs: Tensor, plain: Tensor, when: str) -> None:
    if not torch.equal(outputs_of(model, inputs), plain):
        raise CheckFailure(
            f"{when} the host computes something else",
            cause="a forward that goes through children or hooks by itself, or depends on their number",
            fix="call the layers by name",
        )


def _expect_effect(slot_set: SlotSet, model: nn.Module, inputs: Tensor, plain: Tensor, site: Site) -> None:
    with slot_set.override({site.id: 1.0}):
        if torch.allclose(outputs_of(model, inputs), plain, rtol=1e-5, atol=1e-7):
            raise CheckFailure(
                f"whatever a seed adds at {site.id}, the logits stay the same",
                cause="nothing uses the site, or the layer behind undoes it (a saturated activation)",
                fix="declare a site whose activation goes on into the sum or the next layer",
            )


@check("host-cost", HostSpec.kind, CONTRACT)
def cost(subject: HostSubject) -> None:
    """Built on the meta device the host has as many parameters, and run there as many FLOPs, as in truth.

    Costs are computed. A host whose control flow depends on values does not run there, and is run on real numbers.
    """
    real = subject.build().module.eval()
    with torch.device("meta"):
        estimated = subject.make().module.eval()
    inputs = subject.batch(1)
    counts = parameter_count(estimated), forward_flops(real, inputs[0])
    truth = parameter_count(real), count_flops(real, inputs)
    if counts != truth:
        raise CheckFailure(
            f"on the meta device {counts[0]} parameters and {counts[1]} FLOPs, in truth {truth[0]} and {truth[1]}",
            cause="layers or work that depend on values or on the device",
            fix="build the same layers on every device; create tensors on the input's device",
        )


@check("host-copies", HostSpec.kind, CONTRACT)
def copies(subject: HostSubject) -> None:
    """A deep copy and a pickled host compute the same and share nothing: hosts move to other processes."""
    module, inputs = subject.build().module, subject.batch()
    plain = outputs_of(module, inputs)
    for name, other in {"copied": copy.deepcopy(module), "pickled": pickle.loads(pickle.dumps(module))}.items():
        same = torch.equal(outputs_of(other, inputs), plain)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1.0)
        if not same or not torch.equal(outputs_of(module, inputs), plain):
            raise CheckFailure(
                f"{name}, it {'shares tensors with the original' if same else 'computes something else'}",
                cause="a __deepcopy__ or __reduce__ of its own, or tensors outside of parameters and buffers",
                fix="keep tensors in parameters and buffers, and leave copying to nn.Module",
            )


@check("host-state-round-trip", HostSpec.kind, CONTRACT)
def state_round_trip(subject: HostSubject) -> None:
    """The state dict, saved as safetensors and loaded strictly into another build, restores the host."""
    module, inputs = subject.build().module, subject.batch()
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    other = subject.build(seed=1).module
    other.load_state_dict(load(save(state)))
    if not torch.equal(outputs_of(other, inputs), outputs_of(module, inputs)):
        raise CheckFailure(
            "a host restored from its state dict computes something else",
            cause="values drawn at birth that are no parameter and no persistent buffer",
            fix="use nn.Parameter or register_buffer for everything that the options do not determine",
        )


#: The checks of this module in order.
TOOL_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(HostSubject, (*HOST_CHECKS, *SIZE_CHECKS, *TOOL_CHECKS))
