"""What lies over the screen for a moment: the keys, and the list of runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from esper_runs.formatting import MISSING, whole
from esper_runs.printing import printable
from esper_runs.run_figures import figures_in_words, means_in_words
from esper_runs.run_list import RunSummary, list_runs
from esper_runs.tables import Column, Table, plain_text

#: The keys, in the order of the help.
KEYS = (
    ("1 to 6, ← →", "the tabs: run, curves, seeds, policy, governor, events"),
    ("↑ ↓, page keys", "scroll"),
    ("n, N", "the next run, the one before"),
    ("r", "choose a run from a list, and follow it as well"),
    ("h, H", "the next host, the one before"),
    ("/", "filter the events; Enter or Esc leads back"),
    ("p", "stop following the files, and go on"),
    ("?", "this help"),
    ("q", "quit; the runs go on"),
)

_FILTER = (
    "A filter is words, all of which must occur, and kind=, host=, slot=, seed= and epoch=5-10, which must fit: "
    "kind=seed_transition slot=block1 culled"
)


class Help(ModalScreen[None]):
    """The keys."""

    CSS = """
    Help { align: center middle; }
    Help Static { width: 76; max-width: 100%; height: auto; border: round $primary; padding: 1 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", "Back")]

    def compose(self) -> ComposeResult:
        """Lay out the keys."""
        keys = Grid.grid(padding=(0, 1, 0, 0))
        for key, what in KEYS:
            keys.add_row(Text(key, "bold"), Text(what))
        yield Static(Group(keys, Text(), Text(_FILTER)))


class RunList(ModalScreen[str | None]):
    """The runs of a directory, the newest first; gives the name of the chosen one.

    Args:
        runs: the directory.
    """

    CSS = """
    RunList { align: center middle; }
    RunList OptionList { width: 96%; height: 80%; border: round $primary; text-wrap: nowrap; text-overflow: ellipsis; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", "Back")]

    def __init__(self, runs: Path) -> None:
        super().__init__()
        self._runs = runs
        self._found: list[RunSummary] = []

    def compose(self) -> ComposeResult:
        """Lay out the list, which is filled when it has been read."""
        yield OptionList(Option(Text(printable(f"reading {self._runs} …")), disabled=True))

    def on_mount(self) -> None:
        """Read the list."""
        self.run_worker(self._read, thread=True)

    def _read(self) -> None:
        self._found = list_runs(self._runs)
        self.app.call_from_thread(self._fill)

    def _fill(self) -> None:
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(Option(line) for line in _lines(self._found))
        if not self._found:
            listed.add_option(Option(Text(printable(f"there are no runs in {self._runs}")), disabled=True))
        else:
            listed.highlighted = 0
        listed.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Give the name of the chosen run."""
        self.dismiss(self._found[event.option_index].name)


def _lines(runs: list[RunSummary]) -> list[Text]:
    titles = ("run", "outcome", "epochs", "grown", "", "began")
    columns = tuple(Column(title, right=title in ("epochs", "grown", "began")) for title in titles)
    rows = tuple(tuple(" ".join(printable(cell).split()) for cell in _cells(run)) for run in runs)
    _, *lines = plain_text(Table(columns=columns, rows=rows)).split("\n")
    return [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]


def _cells(run: RunSummary) -> tuple[str, ...]:
    began = f"{datetime.fromtimestamp(run.started, UTC):%Y-%m-%d}" if run.started else MISSING
    epochs, (grown, *_) = f"{whole(run.epochs)}/{whole(run.planned_epochs)}", figures_in_words(run)
    return (run.name, run.outcome, epochs, grown, means_in_words(run), began)
