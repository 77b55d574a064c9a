"""Which counterfactuals to ask for, and what they say of seeds that act together: pure functions."""

from array import array
from collections.abc import Iterable, Mapping
from itertools import combinations

from esper_core.leyline.evidence import PairedDifference, paired_difference

#: Other alphas for some slots; the empty setting is the network as it stands.
Setting = Mapping[str, float]


def subset_settings(slots: Iterable[str]) -> dict[frozenset[str], Setting]:
    """Return the setting of every subset of `slots`, from the empty set to all of them: 2^K settings.

    The seeds of the subset act as they stand, the others of `slots` are switched off; slots that are not named stay
    as they stand.
    """
    names = list(dict.fromkeys(slots))
    return {
        frozenset(present): {name: 0.0 for name in names if name not in present}
        for size in range(len(names) + 1)
        for present in combinations(names, size)
    }


def interactions(losses: Mapping[frozenset[str], "array[float]"]) -> dict[tuple[str, str], PairedDifference]:
    """Return the pairwise interaction, in nats, of every pair of slots whose loss is given.

    ``I_ij = f({i, j}) - f({i}) - f({j}) + f({})``, where f is the loss of a set of slots. Positive: the two stand in
    for each other, so that together they save less than the sum of what each saves alone. Negative: they need each
    other. Zero: their effects on the loss add up.

    The sets say which seeds act, as in `subset_settings`: then I_ij is that of a network without the other seeds. Sets
    of the seeds that are switched off, as in leave-one-out, give it for the network with all the others; a positive
    value still means that the two stand in for each other.

    Args:
        losses: per-sample losses by set, on the same samples; for each pair, those of both single slots and of the
            empty set as well. Sets of three and more are not looked at.

    Raises:
        KeyError: if a single slot or the empty set is missing.
    """
    pairs = (sorted(subset) for subset in losses if len(subset) == 2)
    return {(i, j): _interaction(losses, i, j) for i, j in pairs}


def _interaction(losses: Mapping[frozenset[str], "array[float]"], i: str, j: str) -> PairedDifference:
    both, neither = losses[frozenset((i, j))], losses[frozenset()]
    only_i, only_j = losses[frozenset((i,))], losses[frozenset((j,))]
    together = array("d", (a + b for a, b in zip(both, neither, strict=True)))
    apart = array("d", (a + b for a, b in zip(only_i, only_j, strict=True)))
    return paired_difference(together, apart)
