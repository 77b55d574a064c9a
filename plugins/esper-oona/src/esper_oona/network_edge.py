"""Calls of a server over a network: tried again for a moment, and not at all while it keeps failing."""

import logging
from collections.abc import Callable
from typing import TypeVar

import pybreaker
import stamina

from esper_core.leyline.errors import EsperError, summary

T = TypeVar("T")

# Where a program sets no logging up, each try would be printed on stderr otherwise.
logging.getLogger("stamina").addHandler(logging.NullHandler())


class NetworkEdge:
    """A breaker with retries behind it.

    Args:
        name: what is called, for errors.
        failures: the exceptions that mean that the server did not answer; others pass as they are.
        tries: how many times one call is tried, within ``seconds``.
        fail_max: so many calls in a row that failed open the breaker.
        reset_seconds: after this time one call is tried.
    """

    def __init__(
        self,
        name: str,
        failures: tuple[type[Exception], ...],
        *,
        tries: int = 4,
        seconds: float = 3.0,
        fail_max: int = 3,
        reset_seconds: float = 1.0,
    ) -> None:
        self._name = name
        self._failures = failures
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=fail_max, reset_timeout=reset_seconds, exclude=[lambda error: not isinstance(error, failures)]
        )
        self._again = stamina.RetryingCaller(attempts=tries, timeout=seconds, wait_initial=0.05, wait_max=1.0)

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return str(self._breaker.current_state)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function that may be called more than once.

        Raises:
            EsperError: E611 if the server does not answer, or did not the last times.
        """
        not_answered: tuple[type[Exception], ...] = (pybreaker.CircuitBreakerError, *self._failures)
        try:
            found: T = self._breaker.call(lambda: self._again(self._failures, function))
            return found
        except not_answered as error:
            cause = error.__cause__ or error.__context__ or error
            raise EsperError("E611", f"{self._name} does not answer", why=summary(cause)) from error
