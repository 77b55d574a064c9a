"""The services of a state directory, as `esper status` shows them; the supervisor is asked once a second at most."""

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from esper_core.api import EsperError
from esper_runs.html.markup import Markup, element, joined, note, table, tree
from esper_runs.printing import printable

#: Answers are kept for so long, in seconds: a hundred browsers ask the supervisor no more often than one.
KEPT = 1.0


def state_of_services(given: Path | None) -> Path | None:
    """Return the state directory that is looked at; None where Weatherlight, which has services, is not installed."""
    try:
        from esper_oona.api import state_path
    except ModuleNotFoundError:
        return given
    found: Path = state_path(given)
    return found.absolute()


class Services:
    """What there is to show of services. It may be used by several threads.

    Args:
        state: the state directory; None: no services are shown.
        asked: it was asked for by its path, so that it is said if there is nothing in it.
        clock: gives seconds.

    Raises:
        EsperError: E190 if it was asked for and Weatherlight is not installed.
    """

    def __init__(self, state: Path | None, *, asked: bool = False, clock: Callable[[], float] = monotonic) -> None:
        self._state, self._asked, self._clock = state, asked, clock
        self._lock = threading.Lock()
        self._body, self._until = b"", float("-inf")
        try:
            import esper_weatherlight.api  # noqa: F401
        except ModuleNotFoundError as error:
            if asked:
                why, fix = "esper-weatherlight is not installed", "pip install esper-weatherlight"
                raise EsperError("E190", "services cannot be shown", where="--state", why=why, fix=fix) from error
            self._state = None

    def view(self) -> bytes:
        """Return how they are as JSON: ``nodes`` (see `tree`), none where there is nothing to show."""
        with self._lock:
            if self._clock() >= self._until:
                self._body = json.dumps({"nodes": tree(self._markup())}, separators=(",", ":")).encode()
                self._until = self._clock() + KEPT
            return self._body

    def _markup(self) -> Markup:
        if self._state is None:
            return joined(())
        from esper_weatherlight.api import NOTHING, supervisor_status

        try:
            found = supervisor_status(self._state)
            if found is None:
                return note(NOTHING) if self._asked else joined(())
            return machine_markup(found)
        except EsperError as error:
            return element("p", printable(f"{error.what}: {error.why}"), class_="problem")


def machine_markup(found: Mapping[str, Any]) -> Markup:
    """Return what a supervisor answers as markup. Raises EsperError E642 if it is no such answer."""
    from esper_weatherlight.api import machine_view

    view = machine_view(found)
    signals = [element("li", it) for it in view.emergencies[1:]]
    return joined(
        (
            element("p", view.headline, class_=f"headline {'bad' if found['health'] == 'critical' else 'good'}"),
            table(view.services, "each service", labelled=True) if view.services.rows else None,
            element("h4", view.emergencies[0]) if view.emergencies else None,
            element("ul", *signals, class_="signals") if signals else None,
        )
    )
