"""Show a run: live in a terminal, as plain lines elsewhere, with a table at the end."""

import sys
from collections.abc import Mapping, Sequence
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from esper_core.api import Event, EventKind
from esper_runs.board import Board
from esper_runs.formatting import metrics
from esper_runs.result import is_control, is_twin, twin_of
from esper_runs.timeline_text import NOTES, denial_text, transition_text
from esper_sink_console.config import ConsoleConfig

if TYPE_CHECKING:
    from rich.live import Live

    from esper_runs.terminal import Terminal

#: Drawing takes milliseconds: epochs that are shorter than this share a drawing.
_REDRAW_SECONDS = 0.1


class ConsoleSink:
    """A sink that writes to standard output.

    Args:
        config: how to show a run.
    """

    def __init__(self, config: ConsoleConfig) -> None:
        self._config = config
        self._terminal: Terminal | None = None
        self._live: Live | None = None
        self._board = Board(title="", epochs=None)
        self._drawn_at = -inf

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin to show a run. Imports rich."""
        from rich.live import Live

        from esper_runs.terminal import Terminal

        self._board = Board.of_run(manifest)
        # A run goes on where its reader has had enough, or was killed.
        self._terminal = Terminal(sys.stdout, read=False)
        console, live = self._terminal.console, self._config.live
        if live if live is not None else console.is_terminal and not console.is_dumb_terminal:
            # Drawn when events come: a thread that redraws in between would take time from the training.
            self._live = Live(console=console, auto_refresh=False)
            self._live.start()
            self._draw()
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
        """Draw the display, unless that was done a moment ago."""
        if monotonic() - self._drawn_at >= _REDRAW_SECONDS:
            self._draw()

    def progress(self, host: str, epoch: int, done: int, steps: int) -> None:
        """Draw how far an epoch is, in a terminal."""
        if self._live is not None:
            self._board.training = (host, epoch, done, steps)
            self._draw()

    def close(self) -> None:
        """Give the terminal back; a second call does nothing."""
        self._stop_live()
        self._terminal = None

    def _opened(self) -> "Terminal":
        if self._terminal is None:
            raise RuntimeError('the sink "console" is not open')
        return self._terminal

    def _say(self, line: str) -> None:
        """Print a line, above the display if there is one. A terminal's lines are broken between words."""
        terminal = self._opened()
        if terminal.console.is_terminal:
            terminal.console.print(terminal.paragraph(line))
        else:
            terminal.console.print(terminal.text(line), soft_wrap=True)

    def _line(self, event: Event) -> str | None:
        if event.kind is EventKind.EPOCH_COMPLETED:
            beside = is_twin(event.host) and not is_control(event.host)
            return None if self._live is not None or beside else self._epoch_line(event)
        if (text := _event_text(event)) is None:
            return None
        return text if event.epoch is None else f"epoch {event.epoch + 1} | {event.host} | {text}"

    def _epoch_line(self, event: Event) -> str:
        """A host's epoch beside the twin's, which has gone first."""
        # A control has a number of epochs of its own.
        of = f"/{self._board.epochs}" if self._board.epochs and not is_control(event.host) else ""
        parts = [f"epoch {(event.epoch or 0) + 1}{of}"]
        for name in (event.host,) if is_control(event.host) else (event.host, twin_of(event.host)):
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
        terminal = self._opened()
        terminal.print(*final_report(result, terminal))

    def _draw(self) -> None:
        if self._live is not None:
            from esper_sink_console.live import display

            self._live.update(display(self._board, self._opened()), refresh=True)
            self._drawn_at = monotonic()

    def _stop_live(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()


def _event_text(event: Event) -> str | None:
    """What an event says in a line of its own; None for an event that is shown in another way."""
    if event.kind is EventKind.SEED_TRANSITION:
        return f"{event.data['slot']} {transition_text(event.data)}"
    if event.kind is EventKind.ACTION_DENIED:
        return denial_text(event.data)
    return NOTES[event.kind](event.data) if event.kind in NOTES else None
