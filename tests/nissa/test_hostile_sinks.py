"""Sinks that hang, that raise what no sink should, or that change what others are handed."""

import signal
import threading
import warnings

import pytest

from esper_core.leyline.deadline import OverdueError, within
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind
from esper_nissa.hub import Hub
from esper_nissa.queue_limits import QueueLimits

EPOCH = Event(kind=EventKind.EPOCH_COMPLETED, epoch=0, data={"loss": {"train": [1.0, 2.0]}, "pair": (1, [2])})


class Listening:
    """Keeps what it is given; does what it was told to in one of its methods."""

    def __init__(self, place="", does=lambda: None):
        self.place, self.does = place, does
        self.events, self.log = [], []

    def _at(self, place):
        self.log.append(place)
        if place == self.place:
            self.does()

    def open(self, manifest):
        self._at("open")

    def emit(self, events):
        self.events.extend(events)
        self._at("emit")

    def flush(self):
        self._at("flush")

    def close(self):
        self._at("close")


def hang():
    threading.Event().wait()


def hang_on():
    """Go on hanging whatever exception interrupts it."""
    while True:
        try:
            threading.Event().wait()
        except Exception:
            continue


#: Seconds that a sink has which hangs; a sound one must not take as long on a machine that is busy.
SHORT = 0.4


def through(hub, limits=None):
    hub.open({"name": "run"})
    if limits is not None:  # a sound sink may take its time to open
        object.__setattr__(limits, "deadline", SHORT)
    hub.emit(EPOCH)
    hub.emit(EPOCH)
    hub.close()


@pytest.mark.parametrize("thread", [False, True], ids=["main thread", "another thread"])
@pytest.mark.parametrize("does", [hang, hang_on])
@pytest.mark.parametrize("place", ["emit", "flush", "close"])
def test_a_sink_that_hangs_is_named_and_the_run_goes_on(place, does, thread):
    bad, good, limits = Listening(place, does), Listening(), QueueLimits()
    hub = Hub({"bad": bad, "good": good}, limits=limits)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if thread:
            running = threading.Thread(target=through, args=[hub, limits])
            running.start()
            running.join()
        else:
            through(hub, limits)
    (warning,) = [w for w in caught if "hangs" in str(w.message)]
    assert f'sink "bad" hangs in {place}()' in str(warning.message)
    counts = hub.counts()["bad"]
    assert counts.disabled
    assert f"{SHORT} seconds" in counts.last_error
    assert bad.log.count(place) == 1
    assert good.log[-1] == "close"
    assert len([event for event in good.events if event.kind is EventKind.EPOCH_COMPLETED]) == 2


def test_a_sink_that_hangs_in_open_is_an_error_with_its_name():
    limits = QueueLimits()
    first = Listening("open", lambda: object.__setattr__(limits, "deadline", SHORT))
    with pytest.raises(EsperError, match=r'E504.*"bad".*open'):
        Hub({"first": first, "bad": Listening("open", hang)}, limits=limits).open({})
    assert first.log == ["open", "close"]


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


class ExitingError(Exception):
    def __str__(self):
        raise SystemExit(3)


@pytest.mark.parametrize("place", ["emit", "flush", "close"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnspeakableError(), "UnspeakableError"),
        (ExitingError(), "ExitingError"),
        (ValueError("\ud800 \udcff"), "ValueError: \\ud800 \\udcff"),
        (ValueError("x" * 10**6), "ValueError: xxx"),
        (GeneratorExit(), "GeneratorExit"),
        (SystemExit(0), "SystemExit: 0"),
        (BaseException("base"), "BaseException: base"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_a_sink_raises_is_told_as_text_that_can_be_written(place, error, told):
    def does():
        raise error

    good = Listening()
    hub = Hub({"bad": Listening(place, does), "good": good})
    through(hub)
    last = hub.counts()["bad"].last_error
    assert told in last
    assert len(last) < 600
    last.encode()
    if place != "close":
        assert [event.data["plugin"] for event in good.events if event.kind is EventKind.PLUGIN_FAILED] == ["bad"]


@pytest.mark.parametrize("order", [["vandal", "good"], ["good", "vandal"]])
def test_what_a_sink_does_to_its_events_is_lost_on_everybody_else(order):
    class Vandal(Listening):
        def open(self, manifest):
            manifest["name"] = "mine"

        def emit(self, events):
            for event in events:
                event.data["loss"]["train"].clear()
                event.data["pair"][1].append(3)
                event.data.clear()

    good = Listening()
    sinks = {"vandal": Vandal(), "good": good}
    manifest = {"name": "run"}
    hub = Hub({name: sinks[name] for name in order})
    hub.open(manifest)
    hub.emit(EPOCH)
    hub.close()
    assert not hub.counts()["vandal"].errors
    assert manifest == {"name": "run"}
    assert good.events[0].data == EPOCH.data == {"loss": {"train": [1.0, 2.0]}, "pair": (1, [2])}


@pytest.mark.parametrize("reads_only", [True, False])
def test_only_a_sink_that_says_that_it_only_reads_is_handed_what_others_share(reads_only):
    reader, other = Listening(), Listening()
    reader.reads_only = reads_only
    hub = Hub({"reader": reader, "other": other})
    hub.open({"name": "run"})
    hub.emit(EPOCH)
    hub.close()
    assert (reader.events[0].data is EPOCH.data) == reads_only
    assert other.events[0].data is not EPOCH.data
    assert reader.events == other.events


def test_what_is_in_time_returns_or_raises_as_ever_and_another_timer_goes_on():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 250.0)
        within(60.0, lambda: None)
        with pytest.raises(KeyError):
            within(60.0, lambda: {}["x"])
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 250.0
        # It rings where it rang before.
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while not rung:
            threading.Event().wait(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung == [1]


def test_a_call_that_is_overdue_raises_in_any_thread():
    found = []

    def elsewhere():
        try:
            within(0.01, hang)
        except OverdueError as error:
            found.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    with pytest.raises(OverdueError, match=found[0]):
        within(0.01, hang)
