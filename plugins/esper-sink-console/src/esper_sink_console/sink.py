"""Show a run: live in a terminal, as plain lines elsewhere, with a table at the end."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, cast

from esper_core.api import Event, EventKind
from esper_sink_console.board import TWIN, Board
from esper_sink_console.config import ConsoleConfig
from esper_sink_console.stream import LenientStream
from esper_sink_console.wording import metrics, transition

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

#: Tables need this much where nobody says how wide the output is.
_PLAIN_WIDTH = 120

#: Drawing takes milliseconds: epochs that are shorter than this share a drawing.
_REDRAW_SECONDS = 0.1


class ConsoleSink:
    """A sink that writes to standard output.

    Args:
        config: how to show a run.
    """

    def __init__(self, config: ConsoleConfig) -> None:
        self._config = config
        self._console: Console | None = None
        self._live: Live | None = None
        self._board = Board(title="", epochs=None)
        self._drawn_at = -inf

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin to show a run. Imports rich."""
        from rich.console import Console
        from rich.live import Live

        self._board = Board.of_run(manifest)
        # Of a stream, rich needs no more than a LenientStream has. Names and reasons are no markup.
        stream = cast(IO[str], LenientStream(sys.stdout))
        self._console = Console(file=stream, markup=False, emoji=False, highlight=False)
        if not self._console.is_terminal and "COLUMNS" not in os.environ:
            self._console.width = _PLAIN_WIDTH
        live = self._config.live
        if live if live is not None else self._console.is_terminal and not self._console.is_dumb_terminal:
            # Drawn when events come: a thread that redraws in between would take time from the training.
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        elif self._board.title:
            self._say(self._board.title)

    def emit(self, events: Sequence[Event]) -> None:
        """Show what happened.

        Raises:
            RuntimeError: before `open` and after `close`.
        """
        self._opened()
        for event in events:
            self._board.apply(event)
            if event.kind is EventKind.RUN_FINISHED:
                self._finish(event.data)
            elif line := self._line(event):
                self._say(line)

    def flush(self) -> None:
        """Draw the display as it stands, unless that was done a moment ago."""
        if monotonic() - self._drawn_at >= _REDRAW_SECONDS:
            self._draw()

    def close(self) -> None:
        """Give the terminal back; a second call does nothing."""
        self._stop_live()
        self._console = None

    def _opened(self) -> "Console":
        if self._console is None:
            raise RuntimeError('the sink "console" is not open')
        return self._console

    def _say(self, line: str) -> None:
        """Print a line, above the display if there is one."""
        from rich.text import Text

        self._opened().print(Text(line), soft_wrap=True)

    def _line(self, event: Event) -> str | None:
        if event.kind is EventKind.EPOCH_COMPLETED:
            return None if self._live is not None or event.host == TWIN else self._epoch_line(event)
        write = _LINES.get(event.kind)
        return write(event) if write else None

    def _epoch_line(self, event: Event) -> str:
        """A host's epoch beside the twin's, which has gone first."""
        of = f"/{self._board.epochs}" if self._board.epochs else ""
        parts = [f"epoch {(event.epoch or 0) + 1}{of}"]
        for name in (event.host, TWIN):
            board = self._board.hosts.get(name)
            if board is not None and board.epoch == event.epoch:
                evidence = board.evidence
                train, validation = metrics(evidence.get("train")), metrics(evidence.get("validation"))
                parts.append(f"{name}: training {train}, validation {validation}")
        return " | ".join(parts)

    def _finish(self, result: Mapping[str, Any]) -> None:
        from esper_sink_console.report import final_report

        self._draw()
        self._stop_live()
        for part in final_report(result):
            self._opened().print(part)

    def _draw(self) -> None:
        if self._live is not None:
            from esper_sink_console.live import display

            self._live.update(display(self._board), refresh=True)
            self._drawn_at = monotonic()

    def _stop_live(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()


def _at(event: Event) -> str:
    return f"epoch {event.epoch + 1} | {event.host} | " if event.epoch is not None else ""


#: Events that are worth a line of their own, and their words.
_LINES: Mapping[EventKind, Callable[[Event], str]] = {
    EventKind.SEED_TRANSITION: lambda event: _at(event) + transition(event.data),
    EventKind.ACTION_DENIED: lambda event: f"{_at(event)}the governor denied an action: {event.data['reason']}",
    EventKind.GOVERNOR_INTERVENED: lambda event: (
        f"{_at(event)}the governor is {event.data['mode']}: {event.data['reason']}"
    ),
    EventKind.PLUGIN_FAILED: lambda event: (
        f"{_at(event)}{event.data['place']} {event.data['plugin']} failed: {event.data['error']}"
    ),
    EventKind.NOTICE: lambda event: _at(event) + str(event.data["message"]),
}
