"""Which blueprint to germinate: an order of preference, and what culled seeds have taught."""

from collections.abc import Collection, Iterable

from esper_core.api import Catalogue, EsperError, did_you_mean
from esper_policy_heuristic.config import PREFERENCE, HeuristicConfig


def preference(config: HeuristicConfig, catalogue: Catalogue) -> tuple[str, ...]:
    """Return the catalogue's blueprints in the order in which they are tried.

    Raises:
        EsperError: E204 if the options name a blueprint that is not in the catalogue.
    """
    if config.preference is None:
        listed = [name for name in PREFERENCE if name in catalogue.names]
        return (*listed, *(name for name in catalogue.names if name not in listed))
    for name in config.preference:
        if name not in catalogue.names:
            raise EsperError(
                "E204",
                f'blueprint "{name}" is not in the catalogue',
                where="policy.preference",
                why=did_you_mean(name, catalogue.names),
                fix="name it in policy.blueprints too, or take it out of policy.preference",
            )
    return config.preference


def choose(
    fitting: Collection[str], order: tuple[str, ...], culled: Iterable[tuple[str, ...]], config: HeuristicConfig
) -> str | None:
    """Return the fitting blueprint with the best place after penalties, None if the order names none.

    Args:
        fitting: the blueprints that may be germinated.
        order: the blueprints by preference.
        culled: for each slot the blueprints culled there, oldest first.
        config: penalty and decay.
    """
    culls = list(culled)
    candidates = [name for name in order if name in fitting]

    def place(name: str) -> tuple[float, float]:
        penalty = _penalty(name, culls, config)
        return order.index(name) + penalty, penalty

    return min(candidates, key=place, default=None)


def _penalty(name: str, culls: list[tuple[str, ...]], config: HeuristicConfig) -> float:
    """Return the places that `name` loses: each of its culls counts less the more seeds its slot has lost since."""
    return sum(
        config.cull_penalty * config.cull_penalty_decay**later
        for slot in culls
        for later, culled in enumerate(reversed(slot))
        if culled == name
    )
