"""Prioritised sampling with importance weights (Schaul et al., 2016, sections 3.3 and 3.4)."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def draw(
    priorities: Numbers, count: int, *, alpha: float, beta: float, generator: np.random.Generator
) -> tuple[NDArray[np.int64], Numbers]:
    """Draw items with replacement, each with a probability proportional to its priority to the power of alpha.

    One item is drawn from each of `count` equal shares of the total. The sums are of float64: in float32 an item behind
    a large sum would never be drawn.

    Args:
        priorities: (n,), none negative, at least one above 0; an item with 0 is never drawn.
        count: how many to draw.
        alpha: 0: all alike, 1: in proportion.
        beta: how much of the bias the weights take back, 0 to 1.
        generator: draws.

    Returns:
        The items, (count,), and their importance weights, (count,): (n P)^-beta, divided by the largest that any item
        could have, so that none is above 1.

    Raises:
        ValueError: if a priority is negative or not finite, or none is above 0.
    """
    priorities = np.asarray(priorities, dtype=np.float64)
    if not np.isfinite(priorities).all() or (priorities < 0.0).any() or not (priorities > 0.0).any():
        raise ValueError("priorities are finite and not negative, and one is above 0")
    relative = priorities / priorities.max()
    there = np.flatnonzero(relative)
    scaled = relative[there] ** alpha
    sums = np.cumsum(scaled, dtype=np.float64)
    places = (np.arange(count) + generator.random(count)) * (sums[-1] / max(count, 1))
    drawn = np.minimum(np.searchsorted(sums, places, side="right"), len(there) - 1)
    probabilities = scaled / sums[-1]
    weights = (probabilities[drawn] / probabilities.min()) ** -beta
    return there[drawn], weights
