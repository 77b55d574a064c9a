"""What ``esper run --check-plugins`` keeps: how often plugins were looked at, what that cost, and what was wrong.

The checks only read. They draw no random number and change no tensor, so a run is the same with and without them.
"""

import random
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from time import perf_counter
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy
import torch

from esper_core.leyline.errors import EsperError
from esper_testing.usage import picture

#: Where something is called for every batch, this many first calls of each sort are looked at closely, …
FIRST = 3

#: … and after them one in this many.
EVERY = 50

LEVELS = ("quick", "full")

#: Kinds whose components are not looked at in a run.
NOT_WATCHED = ("executor", "diagnostic")


class Inspection:
    """The account of one run's checks. As a context manager it takes the time that a check needs.

    Attributes:
        level: quick looks closely at a sample of what is called for every batch, full at every call.
        calls: how often a plugin was looked at.
        passed_over: calls that were not looked at closely.
        seconds: what that has cost so far.
    """

    def __init__(self, level: str = "quick") -> None:
        if level not in LEVELS:
            raise ValueError(f"the level must be one of {', '.join(LEVELS)}, not {level!r}")
        self.level = level
        self.calls = 0
        self.passed_over = 0
        self.seconds = 0.0
        self._began = 0.0
        self._broken: EsperError | None = None
        self._counts: Counter[Hashable] = Counter()

    def __enter__(self) -> Self:
        self._began = perf_counter()
        self.calls += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds += perf_counter() - self._began

    def __deepcopy__(self, memo: object) -> Self:
        """Copies of a network share the account: there is one for a run."""
        return self

    def due(self, *sort: Hashable) -> bool:
        """Say whether to look closely at this call of its sort: at the first few, then at a sample; or at each."""
        self._counts[sort] += 1
        close = self.level == "full" or self._counts[sort] <= FIRST or self._counts[sort] % EVERY == 0
        self.passed_over += not close
        return close

    def broken(self, title: str, seen: str, *, cause: str, fix: str) -> NoReturn:
        """A component broke its contract.

        The caller may take an exception for a failed seed or a failed sink and go on, so it is also kept for
        `settle`.

        Raises:
            EsperError: E530.
        """
        error = EsperError("E530", f"{title} {seen}", why=f"the likely cause is {cause}", fix=fix)
        self._broken = self._broken or error
        raise error

    def settle(self) -> None:
        """End the run if anything was wrong so far.

        Raises:
            EsperError: E530, the first one.
        """
        if self._broken is not None:
            raise self._broken

    def summary(self, run_seconds: float) -> dict[str, Any]:
        """Return the account as plain data; `run_seconds` is what the whole run took."""
        return {
            "calls": self.calls,
            "seconds": self.seconds,
            "share": self.seconds / run_seconds,
            "level": self.level,
            "passed_over": self.passed_over,
            "not_watched": list(NOT_WATCHED),
        }


@contextmanager
def explaining(inspection: Inspection) -> Iterator[None]:
    """Where anything fails after a plugin broke its contract, raise what the plugin did, which explains it.

    Raises:
        EsperError: E530.
    """
    try:
        yield
    except Exception:
        inspection.settle()
        raise


class Handed:
    """What a component is handed, as it stood when this was made; nothing where the call is not due."""

    def __init__(self, inspection: Inspection, title: str, handed: Any) -> None:
        self._handed = handed
        self._before = picture(handed) if inspection.due(title, "handed") else None

    def require_same(self, inspection: Inspection, title: str) -> None:
        """Check that it is what it was.

        Raises:
            EsperError: E530.
        """
        if self._before is not None and picture(self._handed) != self._before:
            inspection.broken(
                title,
                "changed what it was handed, which others are handed as well",
                cause="an assignment to a mapping or a list of it, or a pop from one",
                fix="work on a copy: dict(...), list(...)",
            )


class GlobalRandom:
    """The global random generators as they stood when this was made."""

    def __init__(self) -> None:
        self._torch = torch.get_rng_state()
        self._python = random.getstate()
        self._numpy = numpy.random.get_state(legacy=False)

    def moved(self) -> str | None:
        """Return the name of a generator that has been drawn from or seeded since, None if none has."""
        if not torch.equal(torch.get_rng_state(), self._torch):
            return "torch's"
        if random.getstate() != self._python:
            return "random's"
        now: Any = numpy.random.get_state(legacy=False)
        before: Any = self._numpy
        same = (now["state"]["key"] == before["state"]["key"]).all() and now["state"]["pos"] == before["state"]["pos"]
        return None if same else "numpy's"

    def require_still(self, inspection: Inspection, title: str, doing: str) -> None:
        """Check that nothing has moved.

        Raises:
            EsperError: E530.
        """
        if (generator := self.moved()) is not None:
            inspection.broken(
                title,
                f"moved {generator} global generator while {doing}",
                cause="a draw that names no generator, or a call that seeds the global one",
                fix="draw from a generator of the component's own",
            )
