"""The screen of `esper watch`."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import time
from typing import ClassVar

from rich.console import Group, RenderableType
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Footer, Input, Static, TabbedContent, TabPane
from textual.worker import get_current_worker

from esper_app_watch import panes
from esper_app_watch.curves_pane import curves
from esper_app_watch.event_pane import events
from esper_app_watch.model import Shown
from esper_app_watch.policy_pane import policy
from esper_app_watch.reader import Reader
from esper_app_watch.screens import Help, RunList
from esper_app_watch.state import RunState
from esper_core.api import EsperError
from esper_runs.printing import printable
from esper_runs.reading import reading
from esper_runs.run_directory import RunDirectory
from esper_runs.run_list import locate_run
from esper_runs.terminal import Terminal

#: How often files are looked at, in seconds.
PERIOD = 0.5

#: Names of the tabs, in order, by their keys.
TABS = ("run", "curves", "seeds", "policy", "governor", "events")


class _Canvas(io.StringIO):
    """Where a `Terminal` would write: textual writes itself, and shows every character."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Pane(VerticalScroll, inherit_bindings=False):
    """A part of the screen that can be scrolled; left and right are for the tabs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", show=False),
        Binding("down,j", "scroll_down", show=False),
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
        Binding("home", "scroll_home", show=False),
        Binding("end", "scroll_end", show=False),
    ]


class WatchApp(App[None]):
    """Shows runs while they go on, and afterwards.

    Args:
        directories: the runs, at least one.
        runs: the directory from which further ones are chosen.

    Attributes:
        current: the number of the one that is shown.
        host: the name of the growing host that is shown, where there are several.
        paused: the files are not looked at.
    """

    TITLE = "esper watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #headline { height: 1; padding: 0 1; background: $panel; }
    #notice { height: auto; max-height: 2; padding: 0 1; }
    #filter { height: 3; }
    TabbedContent { height: 1fr; }
    TabPane { padding: 0; }
    Pane { padding: 0 1; scrollbar-gutter: stable; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("question_mark", "help", "Help"),
        Binding("r", "choose", "Runs"),
        Binding("n", "next_run(1)", "Next run"),
        Binding("N", "next_run(-1)", show=False),
        Binding("h", "next_host(1)", "Host"),
        Binding("H", "next_host(-1)", show=False),
        Binding("slash", "filter", "Filter"),
        Binding("p", "pause", "Pause"),
        Binding("escape", "leave", show=False),
        Binding("left", "next_tab(-1)", show=False),
        Binding("right", "next_tab(1)", show=False),
        *(Binding(str(number + 1), f"tab('{name}')", show=False) for number, name in enumerate(TABS)),
    ]

    class News(Message):
        """Something was read."""

    def __init__(self, directories: Sequence[RunDirectory], runs: Path) -> None:
        super().__init__()
        self._reader = Reader(directories)
        self._drawn: tuple[object, ...] = ()
        self._runs = runs
        self.current = 0
        self.host = ""
        self.paused = False

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Static(id="headline", markup=False)
        with TabbedContent(id="tabs"):
            for name in TABS:
                with TabPane(name.capitalize(), id=name):
                    if name == "events":
                        yield Input(placeholder="words, kind=, host=, slot=, seed=, epoch=5-10", id="filter")
                    with Pane(id=f"{name}-pane"):
                        yield Static(id=f"{name}-text", markup=False)
        yield Static(id="notice", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Begin to follow the runs."""
        self.query_one("ContentTabs").can_focus = False
        self._focus()
        self.set_interval(PERIOD, self.follow)
        self.follow()

    def follow(self) -> None:
        """Begin to read what is new, unless that is being done, or somebody has stopped it."""
        if not self.paused and self._reader.begin():
            self.run_worker(self._read, thread=True, group="files")

    def _read(self) -> None:
        worker = get_current_worker()
        self._reader.read(lambda: self.post_message(self.News()), lambda: worker.is_cancelled)

    def on_watch_app_news(self) -> None:
        """Draw what was read."""
        self.draw()
        self._reader.drawn()

    def on_resize(self) -> None:
        """Draw again for another width, once everything has found its place."""
        self.call_after_refresh(self.draw, again=True)

    def on_tabbed_content_tab_activated(self) -> None:
        """Draw the tab that came to the front, and let the arrow keys scroll it, unless somebody types a filter."""
        if not isinstance(self.focused, Input):
            self._focus()
        self.call_after_refresh(self.draw, again=True)

    def on_input_changed(self) -> None:
        """Filter the events as somebody types."""
        self.draw(again=True)

    def on_input_submitted(self) -> None:
        """Back from the filter to the events."""
        self._focus()

    @property
    def states(self) -> list[RunState]:
        """What is known of each run."""
        return self._reader.states

    @property
    def tab(self) -> str:
        """The name of the tab in front."""
        return self.query_one(TabbedContent).active or TABS[0]

    def draw(self, *, again: bool = False) -> None:
        """Draw the headline, the newest notice, and the tab in front if there is something new in it.

        Args:
            again: draw the tab even if nothing was read.
        """
        if not self.is_running or not self.query("#headline"):
            return
        run, stamp = self._reader.shown(self.current)
        if run.growing and self.host not in run.growing:
            self.host = run.growing[0]
        terminal = self._terminal(self.size.width - 2)
        where = f"{self.current + 1}/{len(self.states)} " if len(self.states) > 1 else ""
        before = f"{'PAUSED ' if self.paused else ''}{where}"
        self.query_one("#headline", Static).update(panes.headline(run, time(), terminal, before))
        notice = self._guarded(run, terminal, lambda: iter([panes.newest_notice(run, terminal)]))
        self.query_one("#notice", Static).update(notice)
        if again or stamp != self._drawn:
            self._drawn = stamp
            pane = self.query_one(f"#{self.tab}-pane", Pane)
            terminal = self._terminal((pane.scrollable_content_region.width or self.size.width - 3) - 1)
            self.query_one(f"#{self.tab}-text", Static).update(
                self._guarded(run, terminal, lambda: self._parts(run, terminal))
            )

    def _terminal(self, width: int) -> Terminal:
        return Terminal(_Canvas(), max(20, width))

    def _guarded(self, run: Shown, terminal: Terminal, parts: Callable[[], Iterator[RenderableType]]) -> RenderableType:
        """What a damaged file leads to beyond what is checked is named on the screen."""
        try:
            with reading(f'run "{run.name}"', Path(run.directory)):
                return Group(*parts())
        except EsperError as error:
            return terminal.paragraph("; ".join(filter(None, (f"[{error.code}] {error.what}", error.why))), "bad")

    def _parts(self, run: Shown, terminal: Terminal) -> Iterator[RenderableType]:
        if self.tab == "events":
            typed = self.query_one(Input).value
            yield from self._reader.locked(self.current, lambda state: [*events(state.events, typed, terminal)])
            return
        drawn = {
            "run": lambda: panes.overview(run, terminal),
            "curves": lambda: curves(run, self.host, terminal, self._chart_height(run)),
            "seeds": lambda: panes.seeds(run, terminal),
            "policy": lambda: policy(run, self.host, terminal),
            "governor": lambda: panes.governor(run, terminal),
        }
        yield from drawn[self.tab]()

    def _chart_height(self, run: Shown) -> int:
        """Two charts and the stages of the slots fill the screen, if it is high enough."""
        slots = len(run.hosts[self.host].slots) if self.host in run.hosts else 0
        return min(16, max(6, (self.size.height - slots - 16) // 2))

    def _focus(self) -> None:
        self.query_one(f"#{self.tab}-pane", Pane).focus()

    def action_tab(self, name: str) -> None:
        """Bring a tab to the front."""
        self.query_one(TabbedContent).active = name

    def action_next_tab(self, step: int) -> None:
        """Bring the tab beside the one in front to the front."""
        self.action_tab(TABS[(TABS.index(self.tab) + step) % len(TABS)])

    def action_next_run(self, step: int) -> None:
        """Show the next run."""
        self.current = (self.current + step) % len(self.states)
        self.draw(again=True)

    def action_next_host(self, step: int) -> None:
        """Show the next host."""
        names = self._reader.shown(self.current)[0].growing
        if names:
            at = names.index(self.host) if self.host in names else 0
            self.host = names[(at + step) % len(names)]
        self.draw(again=True)

    def action_pause(self) -> None:
        """Stop looking at the files, or go on."""
        self.paused = not self.paused
        self.follow()
        self.draw()

    def action_filter(self) -> None:
        """Type a filter for the events."""
        self.action_tab("events")
        self.query_one(Input).focus()

    def action_leave(self) -> None:
        """Leave the filter."""
        self._focus()

    def action_help(self) -> None:
        """Explain the keys."""
        self.push_screen(Help(), lambda _: self.draw(again=True))

    def action_choose(self) -> None:
        """Choose a run from a list."""

        def watch(name: str | None) -> None:
            if name is not None:
                self.watch_run(self._runs / name)
            self.draw(again=True)

        self.push_screen(RunList(self._runs), watch)

    def watch_run(self, path: Path) -> None:
        """Show a run, and follow it from now on."""
        try:
            directory = locate_run(path)
        except EsperError as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return
        self.current = self._reader.add(directory)
        self.follow()
        self.draw(again=True)
