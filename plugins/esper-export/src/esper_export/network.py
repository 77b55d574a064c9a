"""A grown network as a plain one: fossilized seeds become ordinary modules, and nothing of Esper is left."""

import warnings
from copy import deepcopy
from typing import Literal, TypeGuard, get_args

import torch
from torch import Tensor, nn

from esper_core.kasmina.compiled import own_class
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.probing import probe_arguments
from esper_core.kasmina.root_module import SEEDS, GrowableSequential
from esper_core.kasmina.slot import Slot
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import EsperError
from esper_export.decoding import suit_surroundings
from esper_export.linear import add_to_weight, as_two_layers, linear_matrix, merge_into, weight_update
from esper_export.residual_module import ResidualModule, residual_module
from esper_export.tracing import UntraceableError, is_torch_only, traced

#: What becomes of seeds whose fate is open.
Live = Literal["refuse", "remove"]


class NotPlainWarning(UserWarning):
    """A part of an exported network kept a class that is not torch's: unpickling it needs the package of that class."""


def export_network(network: Growth | SlotSet | nn.Module, *, live: Live = "refuse") -> nn.Module:
    """Return a copy of a grown network without Esper: no slots, no hooks, no container of seeds.

    The copy computes what the network computes. Each fossilized seed is merged into its site where the seed is linear
    and the site a plain `nn.Linear` that shares its weight with nobody (or `nn.Conv2d`, for a seed that takes the
    site's input); elsewhere the site's submodule ``x`` becomes a module with the children ``x.host`` and ``x.seed``.
    Hosts may call the submodules of their sites, but not look for anything else in them. A root `nn.Sequential` is one
    again.

    Of the seed, torch's own modules, functions and parameters are left; all of it can be trained on. So the copy can
    be unpickled without Esper where the host's own classes can be had. Two things make an exception, and each is
    reported by a `NotPlainWarning`: a seed whose computation cannot be traced, or that takes a padding mask or the
    site's input, keeps its own class; and a submodule with arguments that cannot be listed (``**kwargs``), or in front
    of a seed that takes a mask or the input, is wrapped in a class of Esper's.

    Args:
        network: a growth, its seed slot_set, or the root module itself; it is left as it is.
        live: refuse to export while there are seeds whose fate is open, or remove them.

    A cache of decoding is switched off where a seed looks at other positions; a `SurroundingsWarning` says so, and that
    ``from_pretrained`` does not rebuild what has grown.

    Raises:
        EsperError: E507 if there are live seeds, unless they are to be removed; E512 if hooks of others run behind a
            seed at the same submodule.
    """
    if live not in get_args(Live):
        raise ValueError(f"live must be one of {', '.join(get_args(Live))}, not {live!r}")
    model = _root(network)
    if live == "refuse":
        refuse_live_seeds(model)
    for slot in slots_of(model).values():
        _refuse_hooks_behind(model.get_submodule(slot.site.path), slot)
    plain = deepcopy(model)
    remove_live_seeds(plain)
    fossils = slots_of(plain)
    for slot in fossils.values():
        slot.detach()
    if hasattr(plain, SEEDS):
        delattr(plain, SEEDS)
    if isinstance(plain, GrowableSequential):
        # It differs in its forward only; everything else that it carries, hooks of others included, stays.
        plain.__class__ = nn.Sequential  # type: ignore[assignment]
    whole = suit_surroundings(plain, [*fossils.values()], _like(plain))
    # Inner sites first: a site may lie in the submodule of another one.
    for slot in sorted(fossils.values(), key=lambda slot: -slot.site.path.count(".")):
        _make_ordinary(plain, slot, whole=slot.site.id in whole)
    return plain


def slots_of(model: nn.Module) -> dict[str, Slot]:
    """Return the slots of a grown network that hold a seed, by site id."""
    container = getattr(model, SEEDS, None)
    return {} if container is None else {name: slot for name, slot in container.items() if isinstance(slot, Slot)}


def refuse_live_seeds(model: nn.Module) -> None:
    """Raise EsperError E507, naming them, if a network holds seeds whose fate is open."""
    live = [slot for slot in slots_of(model).values() if slot.forward_mode is not ForwardMode.FOSSIL]
    if live:
        seeds = ", ".join(f"{slot.site.id} ({slot.forward_mode.value}, alpha {slot.alpha.item():.2g})" for slot in live)
        raise EsperError(
            "E507",
            "a network with live seeds cannot be exported",
            where=f"slot {seeds}",
            why="their fate is open: they are no permanent part of the network",
            fix='train on until they are fossilized or culled, or leave them out: handle.export(live="remove"), or '
            "esper export RUN --live remove",
        )


def remove_live_seeds(model: nn.Module) -> tuple[str, ...]:
    """Take the seeds whose fate is open out of a network, and return their slots. Optimizers are not looked after."""
    live = [name for name, slot in slots_of(model).items() if slot.forward_mode is not ForwardMode.FOSSIL]
    for name in live:
        slots_of(model)[name].detach()
        del getattr(model, SEEDS)[name]
    return tuple(live)


def _root(network: Growth | SlotSet | nn.Module) -> nn.Module:
    if isinstance(network, Growth):
        return network.slot_set.model
    return network.model if isinstance(network, SlotSet) else network


def _make_ordinary(network: nn.Module, slot: Slot, *, whole: bool) -> None:
    site = slot.site
    module = network.get_submodule(site.path)
    probe = probe_arguments(site, 0, _like(network), fed=slot.fed)
    if slot.fed and _can_take_in(module, network) and (update := weight_update(slot.seed, module, probe)) is not None:
        add_to_weight(module, update)
        return
    matrix = None if slot.masked or slot.fed else linear_matrix(slot.seed, *probe)
    if matrix is not None and _can_take_in(module, network) and isinstance(module, nn.Linear):
        merge_into(module, matrix)
        return
    seed = as_two_layers(matrix, _like(slot.seed)) if matrix is not None else _plain(slot, probe)
    mask = site.mask if slot.masked else None
    replacement = residual_module(module, seed, site.output, mask, whole=whole, fed=slot.fed)
    if isinstance(replacement, ResidualModule):
        listed = f"the arguments of {type(module).__name__} cannot be listed"
        taken = "its seed takes a padding mask" if slot.masked else "its seed takes the input" if slot.fed else ""
        why = taken or ("it refuses a cache" if whole else listed)
        _report(f'"{site.path}" is wrapped in esper_export.residual_module.ResidualModule: {why}')
    network.set_submodule(site.path, replacement)


def _plain(slot: Slot, probe: tuple[Tensor, ...]) -> nn.Module:
    if is_torch_only(slot.seed):
        return slot.seed
    try:
        if slot.masked or slot.fed:
            raise UntraceableError("it takes a padding mask" if slot.masked else "it takes the submodule's input")
        return traced(slot.seed, *probe)
    except UntraceableError as error:
        kind = type(slot.seed)
        _report(f'the seed in slot "{slot.site.id}" stays a {kind.__module__}.{kind.__qualname__}: {error}')
        return slot.seed


def _can_take_in(module: nn.Module, network: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """A plain linear or convolutional layer whose weights nobody else uses, and whose own output nobody looks at."""
    if own_class(module) not in (nn.Linear, nn.Conv2d) or module._forward_hooks:
        return False
    # Under weight_norm, spectral_norm or pruning the weight is computed from other parameters in front of each pass.
    if module._forward_pre_hooks or "weight" not in module._parameters:
        return False
    mine = {id(parameter) for parameter in module.parameters(recurse=False)}
    uses = [id(p) for _, p in network.named_parameters(remove_duplicate=False) if id(p) in mine]
    return len(uses) == len(mine)


def _like(network: nn.Module) -> Tensor:
    return next((p for p in network.parameters() if p.is_floating_point()), torch.empty(()))


def _refuse_hooks_behind(module: nn.Module, slot: Slot) -> None:
    hooks = [*module._forward_hooks.values()]
    if slot.forward_mode is ForwardMode.FOSSIL and hooks[-1] not in (slot.hook, slot.beside_hook):
        raise EsperError(
            "E512",
            f'the seed in slot "{slot.site.id}" cannot become an ordinary module',
            where=slot.site.path,
            why="a forward hook that runs behind it sees the grown activation; in a plain network it would not",
            fix="remove the hook before exporting, and add it again to what is exported",
        )


def _report(what: str) -> None:
    warnings.warn(what, NotPlainWarning, stacklevel=5)
