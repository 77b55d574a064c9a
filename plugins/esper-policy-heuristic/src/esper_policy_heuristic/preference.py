"""Which blueprint to germinate: an order of preference, and what culled seeds have taught."""

from collections.abc import Collection, Iterable

from esper_policy_heuristic.config import HeuristicConfig


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
