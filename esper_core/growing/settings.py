"""What a user says to `grow`, in the shape of a configuration file: checked at the door, every mistake named."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, TypeVar

from attrs import evolve, field, frozen, validators
from torch import nn

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.sites import find_sites
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.records import plain
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.stages import Incubation
from esper_core.leyline.structure import structure
from esper_core.plugins.plugin_set import PluginSet
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import SeedSchedule

T = TypeVar("T")
Options = Mapping[str, Any]

_POSITIVE = validators.and_(validators.gt(0.0), validators.lt(inf))


@frozen(kw_only=True)
class SeedRates:
    """Learning rates of seeds; those of the host are the user's.

    Attributes:
        seed_schedule: ``restart-seed``, down a cosine of its own over the epochs that remain, or ``keep``, with the
            rate of the optimizer's first group.
        seed_lr_multiplier: a seed's peak learning rate relative to the optimizer's.
    """

    seed_schedule: SeedSchedule = SeedSchedule.RESTART_SEED
    seed_lr_multiplier: float = field(default=1.0, validator=_POSITIVE)


@frozen(kw_only=True)
class GrowSettings:
    """How seeds live, as in a configuration file.

    Attributes:
        lifecycle: durations and switches of a seed's life.
        limits: how far the network may grow.
        optimizer: learning rates of seeds.
        random_guess_loss: the loss of a model that knows nothing, in nats, such as the logarithm of the number of
            classes; None: not known. The governor and policies use it.
    """

    lifecycle: LifecycleConfig = field(factory=LifecycleConfig)
    limits: GrowthLimits = field(factory=GrowthLimits)
    optimizer: SeedRates = SeedRates()
    random_guess_loss: float | None = field(default=None, validator=validators.optional(_POSITIVE))


@frozen(kw_only=True)
class _Numbers:
    epochs: int = field(validator=validators.ge(1))
    seed: int = field(validator=[validators.ge(0), validators.lt(2**63)])


def check_numbers(epochs: int, seed: int) -> None:
    """Check the numbers that are arguments of their own. Raises EsperError E202."""
    checked(_Numbers, {"epochs": epochs, "seed": seed}, path="")


def check_settings(given: Options | GrowSettings) -> GrowSettings:
    """Return the settings of a user's loop.

    Raises:
        EsperError: E201 for an unknown key, E202 for a value that does not fit or needs a loop of Esper's own.
    """
    settings = checked(GrowSettings, given, path="settings")
    if settings.optimizer.seed_schedule is SeedSchedule.RESTART_ALL:
        raise EsperError(
            "E202",
            '"restart-all" is not a schedule for seeds in a loop of your own',
            where="grow(settings=...)",
            why="the schedule of everything else is yours: Esper follows it and does not restart it",
            fix='use "restart-seed" or "keep"; to restart the host\'s, build a new scheduler after a germination',
        )
    if settings.lifecycle.incubation is Incubation.PROBE:
        raise EsperError(
            "E202",
            'the incubation "probe" needs a training loop of Esper\'s own',
            where="grow(settings=...)",
            why="it runs the model and its loss once more in each step, and here the loop is yours",
            fix='use "ste", which has the same gradients at birth, or "none"; or make a task of it for `esper run`',
        )
    return settings


def checked(cls: type[T], given: Any, *, path: str) -> T:
    """Return a record of what was given as a mapping, a record, or both mixed. Raises EsperError E201, E202."""
    try:
        data = plain(given)
    except TypeError as error:
        raise EsperError("E202", f'the value of "{path}" is not valid', where="grow(...)", why=str(error)) from error
    return structure(cls, data, path=path, source="grow(...)")


def named(value: Any, argument: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of a component: ``"standard"``, or ``{"name": "standard", ...}``.

    Raises:
        EsperError: E202 if it is neither.
    """
    options = {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise EsperError(
            "E202",
            f'the value of "{argument}" is not valid',
            where=f"grow({argument}=...)",
            why=f"expected a name, or a mapping with a name and options, got {value!r}",
        )
    return name, options


def refuse_unknown(argument: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise EsperError E201 for the first key that is not known."""
    known = [*known]
    for name in given:
        if name not in known:
            raise EsperError("E201", f'unknown key "{argument}.{name}"', fix=did_you_mean(name, known))


def site_requests(
    model: nn.Module, sites: str | SiteRequest | Iterable[str | SiteRequest] | None, plugins: PluginSet
) -> tuple[SiteRequest, ...]:
    """Return the sites that were asked for; the path of each may be a glob, whose matches share all the rest.

    Raises:
        EsperError: E401 if nothing matches, or no plugin knows the model; E202 for what is not a site.
    """
    root = getattr(model, "_orig_mod", model)
    if sites is None:
        known = plugins.adapt_host(root)
        if known is None:
            raise EsperError(
                "E401",
                f"no plugin knows where {type(root).__name__} can grow",
                why="sites were not given",
                fix='name submodules: grow(model, sites=["layer*"], ...)',
            )
        return known[0]
    asked: Sequence[Any] = [sites] if isinstance(sites, str | SiteRequest) else [*sites]
    found: dict[str, SiteRequest] = {}
    for item in asked:
        if not isinstance(item, str | SiteRequest):
            raise EsperError(
                "E202", 'the value of "sites" is not valid', why=f"expected names or SiteRequests, got {item!r}"
            )
        request = SiteRequest(path=item) if isinstance(item, str) else item
        for match in find_sites(root, [request.path]):
            found.setdefault(match.path, evolve(request, path=match.path))
    return tuple(found.values())
