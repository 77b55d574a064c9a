"""Whether a policy that was swapped in does worse than the one before it on the same random seeds."""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from esper_oona.api import keyring, state_directory
from esper_simic.policy_store import PolicyStore
from esper_simic.validation import paired

Key = TypeVar("Key", bound=Hashable)

#: A policy is judged by so many finished episodes, or more.
EPISODES = 8

#: It is worse if its mean paired return is this many standard errors below.
STANDARD_ERRORS = 2.0


@frozen(kw_only=True)
class Comparison:
    """Two policies on the same random seeds.

    Attributes:
        episodes: how many pairs there are.
        difference: mean return of the later policy minus that of the one before.
        error: standard error of that mean.
    """

    episodes: int
    difference: float
    error: float

    @property
    def worse(self) -> bool:
        """Whether the later policy does worse; also if a return is not a number."""
        return not self.difference >= -STANDARD_ERRORS * self.error


def compared(before: Mapping[Key, float], after: Mapping[Key, float]) -> Comparison | None:
    """Compare two policies by the episodes that both have finished; None as long as there are fewer than `EPISODES`."""
    pairs = [(value, after[key]) for key, value in before.items() if key in after]
    if len(pairs) < EPISODES:
        return None
    difference, error = paired(pairs)
    return Comparison(episodes=len(pairs), difference=difference, error=error)


def present_champion() -> tuple[str, Path] | None:
    """Return the champion of the state directory and where its card is, verified; None if there is none.

    Raises:
        EsperError: E612, E635 if the state directory cannot be used.
        RefusedPolicyError: E637 if it is not signed by us, or not as it was signed.
    """
    with _store() as store:
        if (version := store.champion()) is None:
            return None
        store.read(version)
        return version, store.card_path(version)


def card_of(version: str) -> Path:
    """Return where the card of a version is, verified.

    Raises:
        EsperError: E636 if there is none, and as `present_champion`.
    """
    with _store() as store:
        store.read(version)
        return store.card_path(version)


def take_back(version: str, because: str) -> str:
    """Roll a champion back, if it still is the champion; return the present one. Raises EsperError E636 without one."""
    with _store() as store:
        return store.rollback(because=because, only=version)[1]


@contextmanager
def _store() -> Iterator[PolicyStore]:
    state = state_directory()
    store = PolicyStore(state, keyring(state))
    try:
        yield store
    finally:
        store.close()
