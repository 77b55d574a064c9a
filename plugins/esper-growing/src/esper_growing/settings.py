"""What a user says to `grow`, in the shape of a configuration file: checked at the door, every mistake named."""

from math import inf
from typing import Any, TypeVar

from attrs import field, frozen, validators

from esper_core.assembling.options import Options
from esper_core.kasmina.config import LifecycleConfig
from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain
from esper_core.leyline.stages import Incubation
from esper_core.leyline.structure import structure
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import SeedSchedule

T = TypeVar("T")

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
