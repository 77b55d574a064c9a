"""What a training shows: a bar with the time left and the latest rounds; outside of a terminal a line a round."""

import sys
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import define, field

from esper_app_train.rounds import ANOMALY, anomalies_of, round_line, round_table
from esper_core.api import Event, EventKind
from esper_runs.formatting import duration
from esper_runs.result import is_twin
from esper_runs.timeline_text import NOTES

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from esper_runs.terminal import Terminal

#: How many rounds the display shows.
LATEST = 8

#: Drawing takes milliseconds: what comes quicker shares a drawing.
_REDRAW_SECONDS = 0.1

#: Columns of a bar, and in a terminal that is narrower than `_NARROW`.
_BAR, _SHORT_BAR, _NARROW = 24, 10, 80


@define
class Clock:
    """How far a training is, and how long the rest will take.

    Attributes:
        rounds, epochs: how many rounds there are, and how long each is.
        round, epoch: the present round, and how many of its epochs are over.
        began: when this process began.
        seen: how many epochs were over in this process.
    """

    rounds: int = 0
    epochs: int = 0
    round: int = 0
    epoch: int = 0
    began: float = field(factory=monotonic)
    seen: int = 0

    def advance(self, number: int, epoch: int) -> None:
        """An epoch of a round, both from 0, is over."""
        if (number, epoch + 1) > (self.round, self.epoch):
            self.round, self.epoch, self.seen = number, epoch + 1, self.seen + 1

    @property
    def done(self) -> int:
        """How many epochs of the training are over."""
        return self.round * self.epochs + self.epoch

    @property
    def total(self) -> int:
        """How many epochs there are in all."""
        return self.rounds * self.epochs

    def seconds_left(self, now: float) -> float | None:
        """About how long the rest will take, by what the epochs in this process took; None before the first."""
        return (now - self.began) / self.seen * (self.total - self.done) if self.seen else None


class TrainingDisplay:
    """A sink that writes a training to standard output."""

    def __init__(self) -> None:
        self._terminal: Terminal | None = None
        self._live: Live | None = None
        self._title = ""
        self._clock = Clock()
        self._rounds: list[dict[str, Any]] = []
        self._ends: dict[str, Mapping[str, Any]] = {}
        self._within: tuple[str, int, int, int] | None = None
        self._drawn_at = 0.0

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin to show a training. Imports rich."""
        from rich.live import Live

        from esper_runs.terminal import Terminal

        config = manifest["config"]
        self._clock = Clock(rounds=manifest["training"]["rounds"], epochs=config["epochs"])
        for resumed in manifest.get("resumed", [])[-1:]:
            self._clock.round, self._clock.epoch = resumed["round"], resumed["epoch"]
        named = ", ".join(f"{section} {config[section]['name']}" for section in ("task", "host", "policy"))
        reward = config["rewards"].get("preset")
        self._title = f"{manifest['name']}: {named}, seed {config['seed']}" + (f", rewards {reward}" if reward else "")
        self._terminal = Terminal(sys.stdout)
        console = self._terminal.console
        if console.is_terminal and not console.is_dumb_terminal:
            # Drawn when events come: a thread that redraws in between would take time from the training.
            self._live = Live(console=console, auto_refresh=False)
            self._live.start()
            self._draw()
        else:
            self._say(self._title)

    def emit(self, events: Sequence[Event]) -> None:
        """Show what happened."""
        for event in events:
            if event.kind is EventKind.EPOCH_COMPLETED and event.epoch is not None:
                self._within = None
                self._ends[event.host] = event.data
                if not is_twin(event.host):
                    self._clock.advance(event.round, event.epoch)
            elif event.kind is EventKind.ROUND_FINISHED:
                self._finish_round(event)
            elif event.kind in NOTES:
                self._say(NOTES[event.kind](event.data))

    def flush(self) -> None:
        """Draw the display, unless that was done a moment ago."""
        if monotonic() - self._drawn_at >= _REDRAW_SECONDS:
            self._draw()

    def progress(self, host: str, epoch: int, done: int, steps: int) -> None:
        """Draw how far an epoch is, in a terminal."""
        if self._live is not None:
            self._within = host, epoch, done, steps
            self._draw()

    def close(self) -> None:
        """Give the terminal back; a second call does nothing."""
        if self._live is not None:
            self._within = None
            self._draw()
            live, self._live = self._live, None
            live.stop()
        self._terminal = None

    def _finish_round(self, event: Event) -> None:
        found = {
            "round": event.round,
            "returns": {host: sum(rewards) for host, rewards in event.data["rewards"].items()},
            "figures": event.data["figures"],
            "ends": self._ends,
        }
        self._rounds, self._ends = [*self._rounds, found][-LATEST:], {}
        if self._live is None:
            left = self._left()
            self._say(round_line(found, self._clock.rounds) + (f" | {left}" if left else ""))
        for name in anomalies_of(found):
            self._say(f"round {event.round + 1}: {ANOMALY}{name}")

    def _left(self) -> str:
        seconds = self._clock.seconds_left(monotonic())
        return f"about {duration(seconds)} left" if seconds else ""

    def _say(self, line: str) -> None:
        """Print a line, above the display if there is one."""
        if (terminal := self._terminal) is None:
            return
        if terminal.console.is_terminal:
            terminal.console.print(terminal.paragraph(line))
        else:
            terminal.console.print(terminal.text(line), soft_wrap=True)

    def _draw(self) -> None:
        if self._live is not None and self._terminal is not None:
            self._live.update(self._drawn(self._terminal), refresh=True)
            self._drawn_at = monotonic()

    def _drawn(self, terminal: "Terminal") -> "RenderableType":
        from rich.console import Group

        parts: list[RenderableType] = [terminal.text(self._title, "title"), self._bars(terminal)]
        if self._rounds:
            parts.append(terminal.table(round_table(self._rounds)))
        return Group(*parts)

    def _bars(self, terminal: "Terminal") -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        clock, left = self._clock, self._left()
        number = min(clock.round + clock.epoch // max(1, clock.epochs), clock.rounds - 1)
        epoch = clock.epoch % max(1, clock.epochs) + 1
        at = f"round {number + 1} of {clock.rounds}, epoch {epoch} of {clock.epochs}"
        said = f"{clock.rounds} rounds" if clock.done >= clock.total else at + (f", {left}" if left else "")
        width = _SHORT_BAR if terminal.width < _NARROW else _BAR
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_row(ProgressBar(total=clock.total, completed=clock.done, width=width), terminal.text(said))
        if self._within is not None:
            host, _, done, steps = self._within
            within = terminal.text(f"{host}: step {done} of {steps}")
            table.add_row(ProgressBar(total=steps, completed=done, width=width), within)
        return table
