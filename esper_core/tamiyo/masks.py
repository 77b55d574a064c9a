"""What is possible on a host: exact masks, so that no sampled action is ever refused as impossible."""

from collections.abc import Callable, Sequence
from functools import partial

from attrs import field, frozen, validators

from esper_core.leyline.actions import ActionMasks, GovernorMode
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.observation import SlotState
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, Stage


@frozen(kw_only=True)
class GrowthLimits:
    """How far a host may grow; None: without limit.

    Attributes:
        max_live_seeds: how many seeds may be live at once (a fossilized seed is not live).
        max_growth_ratio: parameters added by seeds, fossilized ones included, over the host's own parameters.
    """

    max_live_seeds: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.ge(1)])
    )
    max_growth_ratio: float | None = field(
        default=None, validator=validators.optional([validators.instance_of((int, float)), validators.gt(0.0)])
    )


@frozen(kw_only=True)
class Sizes:
    """What a limit on parameters is counted in.

    Attributes:
        host_parameters: number of the host's own parameters.
        seed_parameters: number of parameters of a blueprint's seed at a site, by catalogue name.
        share_parameters: how many more a gated blend takes at a site.
    """

    host_parameters: int
    seed_parameters: Callable[[Site, str], int]
    share_parameters: Callable[[Site], int]


NO_LIMITS = GrowthLimits()


def action_masks(
    states: Sequence[SlotState],
    catalogue: Catalogue,
    *,
    governor: GovernorMode = GovernorMode.NORMAL,
    limits: GrowthLimits = NO_LIMITS,
    sizes: Sizes | None = None,
) -> ActionMasks:
    """Return what is possible now.

    GERMINATE: the slot is dormant, a blueprint fits its site and the limits, and the governor is in its normal mode.
    A gated blend is on offer where every one of these seeds would stay within the limits with it.
    CULL: the slot's seed is live. FOSSILIZE: the seed is probationary and has passed its last gate, and the governor
    has not stopped the host.

    Args:
        states: all slots in site order.
        catalogue: the run's blueprints.
        governor: the governor's mode.
        limits: how far the host may grow.
        sizes: needed where `limits.max_growth_ratio` is set, else not used.

    Raises:
        ValueError: if `max_growth_ratio` is set without `sizes`.
    """
    affordable = _affordable(states, limits, sizes)
    germinate: dict[str, frozenset[str]] = {}
    gated = True
    if governor is GovernorMode.NORMAL and _another_seed_allowed(states, limits):
        for state in states:
            if state.stage is Stage.DORMANT:
                fitting = catalogue.fitting(state.site)
                within = frozenset(name for name in fitting if affordable(state.site, name, False))
                germinate[state.site.id] = within
                gated = gated and all(affordable(state.site, name, True) for name in within)
    return ActionMasks(
        slots=tuple(state.site.id for state in states),
        blueprints=catalogue.names,
        germinate={slot: names for slot, names in germinate.items() if names},
        cull=frozenset(state.site.id for state in states if state.stage.live),
        fossilize=frozenset(
            state.site.id
            for state in states
            if governor is not GovernorMode.STOPPED and state.stage is Stage.PROBATIONARY and state.may_fossilize
        ),
        blends=tuple(Blend) if gated else tuple(blend for blend in Blend if blend is not Blend.GATED),
    )


def _another_seed_allowed(states: Sequence[SlotState], limits: GrowthLimits) -> bool:
    return limits.max_live_seeds is None or sum(state.stage.live for state in states) < limits.max_live_seeds


def _affordable(
    states: Sequence[SlotState], limits: GrowthLimits, sizes: Sizes | None
) -> Callable[[Site, str, bool], bool]:
    """Return the test whether a seed, blended in plainly or gated, would stay within the parameter budget."""
    if limits.max_growth_ratio is None:
        return lambda site, blueprint, gated: True
    if sizes is None:
        raise ValueError("a limit on growth (max_growth_ratio) needs the sizes of host and seeds")
    size = partial(_size, sizes)
    added = sum(_parameters(state, sizes) for state in states if state.stage.holds_module)
    budget = limits.max_growth_ratio * sizes.host_parameters
    return lambda site, blueprint, gated: added + size(site, blueprint, gated) <= budget


def _size(sizes: Sizes, site: Site, blueprint: str, gated: bool) -> int:
    return sizes.seed_parameters(site, blueprint) + (sizes.share_parameters(site) if gated else 0)


def _parameters(state: SlotState, sizes: Sizes) -> int:
    """Count a seed whose module has not arrived yet at the size that it will have."""
    if state.parameters or state.blueprint is None:
        return state.parameters
    return _size(sizes, state.site, state.blueprint, state.blend is Blend.GATED)
