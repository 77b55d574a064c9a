"""`esper_core.grow`: let seeds grow in a network of the user's own, in the user's own training loop."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from attrs import evolve
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from esper_core.growing.handle import GrowthHandle
from esper_core.growing.recipes import recipe
from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.recipes import Recipe
from esper_core.kasmina.roots import prepare_root
from esper_core.kasmina.schedulers import follow, peak_lr
from esper_core.kasmina.sites import confirm_sites, find_sites
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.protocols import Actor, Gate
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.specs import BlueprintSpec, Kind
from esper_core.leyline.stages import GateLevel, Incubation
from esper_core.plugins.known import FIRST_PARTY
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.resolve import build_config, resolve
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import SeedSchedule
from esper_core.tolaria.data import call

Options = Mapping[str, Any]


def grow(
    model: nn.Module,
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    sites: Iterable[str | SiteRequest] | None = None,
    sample: Any = None,
    scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    policy: str | Actor = "heuristic",
    policy_options: Options | None = None,
    blueprints: Sequence[str] | None = None,
    blueprint_options: Mapping[str, Options] | None = None,
    gates: str = "standard",
    gate_options: Mapping[str, Options] | None = None,
    lifecycle: LifecycleConfig | None = None,
    limits: GrowthLimits | None = None,
    seed: int = 0,
    seed_lr_multiplier: float = 1.0,
    seed_schedule: str = SeedSchedule.RESTART_SEED,
    causal: bool = False,
    mask: int | str | None = None,
    plugins: PluginSet | None = None,
) -> GrowthHandle:
    """Make a network growable. The model, the loop and the optimizer stay the caller's.

    Args:
        model: the network. A root `nn.Sequential` is replaced: go on with ``handle.model``.
        optimizer: trains it; seeds bring parameter groups of their own and leave with them.
        epochs: length of the training.
        sites: names or globs of submodules (``layer*``), or site requests; None: ask the plugins who knows the model.
        sample: one batch of inputs for tracing; None: the first batch that the model sees.
        scheduler: the caller's; it goes on seeing the host's groups only.
        policy: a policy's name, or an actor.
        policy_options: the policy's options.
        blueprints: the catalogue, in order; None: the bundled ones.
        blueprint_options: options of blueprints, by name.
        gates: the gate set.
        gate_options: options of its gates, by level.
        lifecycle: durations and switches of seeds.
        limits: how far the network may grow.
        seed: of everything random about the seeds.
        seed_lr_multiplier: a seed's peak learning rate relative to the optimizer's.
        seed_schedule: how a seed's learning rate goes: ``restart-seed``, down a cosine of its own over the epochs that
            remain, or ``keep``, with that of the optimizer's first group.
        causal: at the sites, position t may see positions up to t only.
        mask: name or position of the argument in which the sites' submodules are told what is padding, for sites that
            do not declare one; seeds that mix positions are told as well.
        plugins: loaded plugins; None: all that are installed.

    Raises:
        EsperError: E401, E402 for a model or site that cannot be grown, E204 for a name that is not known, E201 for an
            option that nothing takes, E405 for a scheduler that cannot be followed, E202 for the incubation ``probe``,
            for a seed schedule that is neither of the two, and for `epochs` or `seed_lr_multiplier` not above 0.
    """
    _refuse_what_needs_the_loop(lifecycle, seed_schedule)
    _require_positive(epochs=epochs, seed_lr_multiplier=seed_lr_multiplier)
    plugins = load_plugins() if plugins is None else plugins
    requests = [
        evolve(request, causal=request.causal or causal, mask=mask if request.mask is None else request.mask)
        for request in _requests(model, sites, plugins)
    ]
    root = prepare_root(model)
    if scheduler is not None:
        follow(scheduler, optimizer)
    recipes = _recipes(plugins, blueprints, blueprint_options or {})
    catalogue = Catalogue(tuple(made.entry for made in recipes.values()))
    checks, config = _gates(plugins, gates, gate_options or {}), lifecycle or LifecycleConfig()
    rate = peak_lr(optimizer, scheduler) * seed_lr_multiplier
    handle = GrowthHandle(
        model=root,
        optimizer=optimizer,
        epochs=epochs,
        catalogue=catalogue,
        actor=_actor(plugins, policy, policy_options or {}, catalogue),
        limits=limits or GrowthLimits(),
        seed_rate=rate,
        seed_schedule=SeedSchedule(seed_schedule),
        seed_lr_multiplier=seed_lr_multiplier,
        requests=tuple(requests),
        build=lambda found: Growth(root, found, optimizer, recipes, checks, config, seed, rate),
    )
    if sample is not None:
        handle.begin(confirm_sites(root, requests, lambda model: call(model, sample)))
    else:
        handle.begin_at_first_batch()
    return handle


def _refuse_what_needs_the_loop(lifecycle: LifecycleConfig | None, seed_schedule: str) -> None:
    if seed_schedule not in (SeedSchedule.KEEP, SeedSchedule.RESTART_SEED):
        raise EsperError(
            "E202",
            f'"{seed_schedule}" is no schedule for seeds in a loop of your own',
            where="grow(seed_schedule=...)",
            why="the schedule of everything else is yours: Esper follows it and does not begin it anew",
            fix='use "restart-seed" or "keep"; to begin the host\'s anew, build a new scheduler after a germination',
        )
    if lifecycle is not None and lifecycle.incubation is Incubation.PROBE:
        raise EsperError(
            "E202",
            'the incubation "probe" needs a training loop of Esper\'s own',
            where="grow(lifecycle=...)",
            why="it runs the model and its loss once more in each step, and here the loop is yours",
            fix='use "ste", which has the same gradients at birth, or "none"; or make a task of it for `esper run`',
        )


def _require_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise EsperError("E202", f"{name} must be above 0, not {number}", where=f"grow({name}=...)")


def _refuse_unknown(argument: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = [*known]
    for name in given:
        if name not in known:
            raise EsperError("E201", f'unknown key "{argument}.{name}"', fix=did_you_mean(name, known))


def _requests(model: nn.Module, sites: Iterable[str | SiteRequest] | None, plugins: PluginSet) -> list[SiteRequest]:
    if sites is None:
        known = plugins.adapt_host(getattr(model, "_orig_mod", model))
        if known is None:
            raise EsperError(
                "E401",
                f"no plugin knows where {type(model).__name__} can grow",
                why="sites were not given",
                fix='name submodules: grow(model, sites=["layer*"], ...)',
            )
        return list(known[0])
    asked = [sites] if isinstance(sites, str) else list(sites)
    requests: list[SiteRequest] = []
    for item in asked:
        requests += [item] if isinstance(item, SiteRequest) else find_sites(getattr(model, "_orig_mod", model), [item])
    return requests


def _recipes(plugins: PluginSet, names: Sequence[str] | None, options: Mapping[str, Options]) -> dict[str, Recipe]:
    registry = plugins.registry
    if names is None:
        names = sorted(
            registered.spec.name
            for registered in registry[Kind.BLUEPRINT]
            if registered.origin.distribution in FIRST_PARTY
            and isinstance(registered.spec, BlueprintSpec)
            and registered.spec.learnable
            and registered.spec.unavailable is None
        )
    _refuse_unknown("blueprint_options", options, names)
    return {name: recipe(registry, name, options.get(name, {})) for name in names}


def _gates(plugins: PluginSet, name: str, options: Mapping[str, Options]) -> dict[GateLevel, Gate]:
    found = plugins.registry.gate_set(name)
    _refuse_unknown("gate_options", options, [level.value for level in found])
    return {
        level: resolve(gate)(build_config(gate, options.get(level.value, {}), path=f"gate_options.{level.value}"))
        for level, gate in found.items()
    }


def _actor(plugins: PluginSet, policy: str | Actor, options: Options, catalogue: Catalogue) -> Actor:
    if not isinstance(policy, str):
        _refuse_unknown("policy_options", options, ())
        return policy
    registered = plugins.registry.get(Kind.POLICY, policy)
    actor: Actor = resolve(registered)(build_config(registered, options, path="policy_options"), catalogue)
    return actor
