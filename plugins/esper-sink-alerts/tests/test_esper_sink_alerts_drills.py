"""Every alert and every objective has a drill: a fault makes it fire, and without the fault it clears.

Faults are real where a run shows them within seconds: seeds that raise, harm, change their host, are too large or slow;
a learning rate that is far too high; a loss that is lost once; a plugin and a destination that fail. The others are the
events of a real run, changed as a fault would change them where it takes hours or is one of the machine's. In all of
them an epoch takes a minute.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen
from click.testing import CliRunner
from torch.nn.modules.module import _global_forward_hooks

from esper_alerts.alerts import ALERTS
from esper_alerts.engine import AlertEngine, AlertState
from esper_alerts.live_alerts import LiveAlerts
from esper_alerts.objectives import OBJECTIVES, objective_alerts
from esper_app.cli.root import cli
from esper_core.api import Event, EventKind
from esper_core.tolaria.host import GrowingHost
from esper_sink_prometheus.config import PrometheusConfig
from esper_sink_prometheus.sink import PrometheusSink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EPOCHS, MINUTE, START = 14, 60.0, 1.7e9

#: Blueprints at fault, and an observer that fails in one epoch.
PLUGIN = """
import time

import torch
from torch import nn

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec

ESPER_API = "2.0"


class Seed(nn.Module):
    def __init__(self, site, config):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))


class Raises(Seed):
    def forward(self, h):
        raise RuntimeError("the drill")


class Slow(Seed):
    def forward(self, h):
        if self.training:
            time.sleep(0.15)
        return self.gain * h


class Harms(Seed):
    def forward(self, h):
        return (self.gain - 1.0) * h


class Huge(Seed):
    def forward(self, h):
        return (1.0 + self.gain) * 1000.0 * h.abs().flip(0)


SEEN = []


class Leaks(Seed):
    \"\"\"Whatever linear layer comes after it computes something else.\"\"\"

    def __init__(self, site, config):
        super().__init__(site, config)
        nn.modules.module.register_module_forward_hook(spoil)

    def forward(self, h):
        SEEN.append(1)
        return self.gain * h


def spoil(module, inputs, output):
    if isinstance(module, nn.Linear) and SEEN:
        SEEN.clear()
        return 1.5 * output


@hookimpl
def esper_blueprints():
    for name, factory in {"raises": Raises, "slow": Slow, "harms": Harms, "huge": Huge, "leaks": Leaks}.items():
        yield BlueprintSpec(name=name, summary="At fault.", layouts=["NCHW"], factory=factory)


@hookimpl
def esper_epoch_end(host, evidence):
    if host == "grown" and evidence.epoch == 4:
        raise RuntimeError("the drill")
"""


@frozen(kw_only=True)
class Runs:
    """Real runs, each made when its events are first asked for."""

    folder: Path
    made: dict[str, list[Event]] = field(factory=dict)

    def events(self, name: str, *settings: str) -> list[Event]:
        if name not in self.made:
            given = (
                f"epochs={EPOCHS}",
                "twin=epochs",
                "host.widths=[4, 8]",
                "batch_size=256",
                f"runs={self.folder}",
                f"name={name}",
                *settings,
            )
            sinks = ('sinks.names=["jsonl"]', "telemetry=debug", "policy.germinate_from=0.2")
            words = [word for it in (*sinks, *given) for word in ("--set", it)]
            done = CliRunner().invoke(cli, ["run", "digits", "--plugin-path", str(self.folder / "drill.py"), *words])
            assert done.exit_code in (0, 6), done.output  # 6: the governor stopped it
            lines = (self.folder / name / "events.jsonl").read_text().splitlines()
            self.made[name] = [_event(json.loads(line)) for line in lines]
        return self.made[name]

    def of_seeds(self, blueprint: str, *settings: str, name: str = "") -> list[Event]:
        return self.events(
            name or blueprint, f'policy.blueprints=["{blueprint}"]', "policy.fit_accuracy=1.0", *settings
        )

    def healthy(self) -> list[Event]:
        return self.events("healthy", "policy.fit_accuracy=1.0", "policy.germinate_from=0.05")

    def bounded(self) -> list[Event]:
        """Seeds whose update is far too large, and that nobody culls for it."""
        patience = [f"lifecycle.{it}_timeout_epochs=99" for it in ("bounded", "blending", "probation")]
        return self.of_seeds("huge", "lifecycle.incubation=none", *patience, name="bounded")

    def culled(self) -> list[Event]:
        """Seeds that raise, and are culled again and again."""
        often = ("epochs=30", "lifecycle.embargo_epochs=1", "policy.germinate_until=0.7")
        return self.of_seeds("raises", *often)

    def diverged(self) -> list[Event]:
        return self.events("diverged", "optimizer.lr=1e30")


def _event(line: Mapping[str, Any]) -> Event:
    names = ("host", "epoch", "round", "data", "sequence")
    return Event(kind=EventKind(line["kind"]), **{name: line[name] for name in names if name in line})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Return the runs; what a seed does to all modules of this process ends with them."""
    folder = tmp_path_factory.mktemp("drills")
    (folder / "drill.py").write_text(PLUGIN)
    before = {*_global_forward_hooks}
    yield Runs(folder=folder)
    for it in _global_forward_hooks.keys() - before:
        del _global_forward_hooks[it]


class Watch:
    """What the alerts say while events happen, with a clock of its own."""

    def __init__(self, engine: AlertEngine | None = None, lag: float = 0.0) -> None:
        self.now, self.lag = START, lag
        self.fired: list[str] = []
        self.live = LiveAlerts({"name": "drill", "config": {"epochs": EPOCHS}}, MINUTE, START, self._clock, engine)

    def _clock(self) -> float:
        return self.now + self.lag

    def happen(self, events: Iterable[Event], between: float = MINUTE) -> None:
        """Let events happen; a minute passes with each epoch of the grown host."""
        for event in events:
            if event.kind is EventKind.EPOCH_COMPLETED and event.host == "grown":
                self.wait(between)
            self._note(self.live.take([evolve(event, time=self.now)]))

    def wait(self, seconds: float) -> None:
        """Let time pass in which nothing happens."""
        self.now += seconds
        self._note(self.live.until(self.now))

    def _note(self, changes: Any) -> None:
        self.fired += [it.alert.name for it in changes if it.state is AlertState.FIRING]

    def firing(self) -> set[str]:
        return {alert.name for alert, _, state in self.live.engine.active() if state is AlertState.FIRING}


def altered(events: Iterable[Event], alter: Callable[[dict[str, Any]], None]) -> list[Event]:
    """All epochs, altered."""
    found = []
    for event in events:
        if event.kind is EventKind.EPOCH_COMPLETED:
            data = json.loads(json.dumps(event.data))
            alter(data)
            event = evolve(event, data=data)
        found.append(event)
    return found


def open_end(events: Iterable[Event]) -> list[Event]:
    return [it for it in events if it.kind is not EventKind.RUN_FINISHED]


def again(watch: Watch, events: list[Event]) -> None:
    """The run goes on in a process of its own, which takes over what fires."""
    live = LiveAlerts({"name": "drill", "config": {"epochs": EPOCHS}}, MINUTE, watch.now, watch._clock)
    for alert, labels, state in watch.live.engine.active():
        if state is AlertState.FIRING:
            live.engine.restore(alert.name, labels, watch.now, 1.0)
    watch.live = live
    watch.happen(open_end(events))


Drill = Callable[[Runs, Path], tuple[Watch, Callable[[], None]]]


def quiet(events: Callable[[Runs], list[Event]], seconds: float = 1800.0) -> Drill:
    """Events at fault, after which nothing happens for a while."""

    def drill(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
        watch = Watch()
        watch.happen(open_end(events(runs)))
        return watch, lambda: watch.wait(seconds)

    return drill


def resumed(events: Callable[[Runs], list[Event]]) -> Drill:
    """A run that ends at fault, and goes on well."""

    def drill(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
        watch = Watch()
        watch.happen(events(runs))
        return watch, lambda: again(watch, runs.healthy())

    return drill


def then_well(alter: Callable[[dict[str, Any]], None]) -> Drill:
    """The events of a real run as a fault would alter them, and then as they were."""

    def drill(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
        watch = Watch()
        events = open_end(runs.bounded())
        watch.happen(altered(events, alter))
        return watch, lambda: watch.happen(events)

    return drill


def conservative(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
    """A loss is lost once: the host is rolled back, and grows no further until it is well."""
    train, at = GrowingHost._train, 4

    def damaged(host: Any, epoch: int) -> Any:
        if host.plan.name == "grown" and epoch == at and host.attempt == 0:
            next(host.model.parameters()).data.view(-1)[0] = float("nan")
        return train(host, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GrowingHost, "_train", damaged)
        events = runs.events("rolled-back", "policy.fit_accuracy=1.0")
    watch = Watch()
    normal = max(n for n, it in enumerate(events) if it.kind is EventKind.GOVERNOR_INTERVENED)
    assert events[normal].data["mode"] == "normal"
    watch.happen(events[:normal])
    return watch, lambda: watch.happen(open_end(events[normal:]))


def stalled(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
    """Nothing happens for three quarters of an hour; then the run goes on."""
    watch, events = Watch(), open_end(runs.healthy())
    half = len(events) // 2
    watch.happen(events[:half])
    watch.wait(2700.0)

    def clear() -> None:
        watch.happen(events[half:])
        watch.wait(MINUTE)

    return watch, clear


def late(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
    """Events wait for half a minute; then they do not any more."""
    watch, events = Watch(lag=30.0), open_end(runs.healthy())
    watch.happen(events)

    def clear() -> None:
        watch.lag = 0.0
        for _ in range(27):
            watch.happen(events)

    return watch, clear


def denied(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
    """The governor denies whatever is decided in the grown host."""
    watch, events = Watch(), open_end(runs.healthy())
    refusals = []
    for event in events:
        refusals.append(event)
        if event.kind is EventKind.ACTION_DECIDED and event.host == "grown":
            data = {"action_id": event.data["id"], "allowed": False, "reason": "the drill"}
            refusals.append(evolve(event, kind=EventKind.ACTION_DENIED, data=data))
    watch.happen(refusals)
    return watch, lambda: watch.wait(7 * 3600.0)


def refused(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
    """A policy has more figures than series are kept."""
    watch = Watch()
    watch.happen(open_end(runs.healthy()))
    figures = {f"figure-{number}": 1.0 for number in range(6000)}
    watch.happen([Event(kind=EventKind.ROUND_FINISHED, data={"figures": figures, "rewards": {}})])
    watch.wait(2 * MINUTE)
    return watch, lambda: watch.wait(1800.0)


def export(runs: Runs, folder: Path) -> tuple[Watch, Callable[[], None]]:
    """The sink `prometheus` cannot write its file for a while; its own series are looked at."""
    watch, place = Watch(), folder / "metrics"
    sink = PrometheusSink(PrometheusConfig(http=False, textfile=str(place / "esper.prom")), watch._clock)
    sink.open({"name": "drill"})

    def look(minutes: int) -> None:
        for _ in range(minutes):
            watch.now += MINUTE
            sink.flush()
            watch.live.engine.scrape(sink.series.samples(), watch.now)
            watch._note(watch.live.engine.evaluate(watch.now))

    look(3)
    (place / "esper.prom").unlink()
    place.rmdir()
    look(2)

    def clear() -> None:
        place.mkdir()
        look(8)

    return watch, clear


def nothing_measured(data: dict[str, Any]) -> None:
    for seed in data["seeds"]:
        seed["contribution"] = None


def costly(data: dict[str, Any]) -> None:
    data["compute"]["counterfactuals"] = 10 * data["compute"]["training"]


def growing_costs(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
    watch, events = Watch(), open_end(runs.healthy())
    watch.happen(altered(events, costly))
    return watch, lambda: watch.wait(1800.0)


def too_large(runs: Runs, _: Path) -> tuple[Watch, Callable[[], None]]:
    """Updates are bounded, until other seeds are there."""
    watch = Watch()
    watch.happen(open_end(runs.bounded()))
    return watch, lambda: watch.happen(open_end(runs.healthy()))


def slower_and_slower(runs: Runs) -> list[Event]:
    seconds = 0.1

    def slow(data: dict[str, Any]) -> None:
        nonlocal seconds
        seconds *= 1.5  # two hosts: each takes 2.25 times as long as before
        data["train"]["seconds"] = seconds

    return altered([*open_end(runs.healthy())] * 2, slow)


def losses_lost(runs: Runs) -> list[Event]:
    def lose(data: dict[str, Any]) -> None:
        data["train"]["loss"] = data["validation"]["loss"] = "NaN"

    return [*open_end(runs.healthy()), *altered(open_end(runs.healthy()), lose)]


DRILLS: dict[str, Drill] = {
    "EsperEvidenceMissing": then_well(nothing_measured),
    "EsperEpochSlow": quiet(lambda runs: runs.of_seeds("slow")),
    "EsperPluginFailing": quiet(lambda runs: runs.healthy()),
    "EsperMeasuringCostly": growing_costs,
    "EsperIsolationViolated": quiet(lambda runs: runs.of_seeds("leaks")),
    "EsperEventsLate": late,
    "EsperSeedUnsafe": quiet(lambda runs: runs.of_seeds("huge", "lifecycle.incubation=none")),
    "EsperGovernorStopped": resumed(lambda runs: runs.diverged()),
    "EsperGovernorConservative": conservative,
    "EsperBlueprintAtRisk": resumed(lambda runs: runs.culled()),
    "EsperLossNotFinite": quiet(lambda runs: runs.diverged()),
    "EsperRunStalled": stalled,
    "EsperRunFailed": resumed(lambda runs: runs.diverged()),
    "EsperActionsDenied": denied,
    "EsperSeedAtItsBound": too_large,
    "EsperExportFailing": export,
    "EsperSeriesRefused": refused,
}

OBJECTIVE_DRILLS: dict[str, Drill] = {
    "epochs-steady": quiet(slower_and_slower, 7 * 3600.0),
    "losses-finite": quiet(losses_lost, 7 * 3600.0),
    "events-fresh": late,
    "decisions-allowed": denied,
    "growth-harmless": quiet(lambda runs: runs.of_seeds("harms", "lifecycle.incubation=none"), 7 * 3600.0),
}


def test_every_alert_and_every_objective_has_a_drill() -> None:
    assert DRILLS.keys() == {it.name for it in ALERTS}
    assert OBJECTIVE_DRILLS.keys() == {it.name for it in OBJECTIVES}


@pytest.mark.parametrize("name", DRILLS)
def test_an_alert_fires_and_clears(runs: Runs, tmp_path: Path, name: str) -> None:
    watch, clear = DRILLS[name](runs, tmp_path)
    assert name in watch.fired
    clear()
    assert name not in watch.firing()


@pytest.mark.parametrize("name", OBJECTIVE_DRILLS)
def test_the_alerts_of_an_objective_fire_and_clear(runs: Runs, tmp_path: Path, name: str) -> None:
    key = "".join(part.title() for part in name.split("-"))
    wanted = {it.name for it in objective_alerts() if it.name.startswith(f"EsperSlo{key}")}
    watch, clear = OBJECTIVE_DRILLS[name](runs, tmp_path)
    assert len(wanted) == 3
    assert wanted <= {*watch.fired}
    clear()
    assert not wanted & watch.firing()


def test_a_run_that_goes_well_raises_nothing(runs: Runs) -> None:
    watch = Watch()

    def steady(data: dict[str, Any]) -> None:  # the machine may be busy
        data["train"]["seconds"] = 0.1

    watch.happen(altered((it for it in runs.healthy() if it.kind is not EventKind.PLUGIN_FAILED), steady))
    # What seeds cost a young network is found, and told: that is what its objective is for.
    assert [it for it in watch.fired if not it.startswith("EsperSloGrowthHarmless")] == []
