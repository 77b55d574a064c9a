"""Sinks that show how far an epoch is are told now and then, and cannot disturb a run."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_app.execution import progress as module
from esper_app.execution.progress import INTERVAL, Progress
from esper_core.api import ShowsProgress, Split
from esper_core.tolaria.data import BatchStream
from esper_nissa.hub import Hub
from esper_sink_console.config import ConsoleConfig
from esper_sink_console.sink import ConsoleSink


class Silent:
    def open(self, manifest: Any) -> None: ...
    def emit(self, events: Any) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Showing(Silent):
    def __init__(self, error: BaseException | None = None) -> None:
        self.told: list[tuple[str, int, int, int]] = []
        self.error = error

    def progress(self, host: str, epoch: int, done: int, steps: int) -> None:
        self.told.append((host, epoch, done, steps))
        if self.error is not None:
            raise self.error


def host() -> Any:
    """What is looked at of a host: its plan and its batches."""
    task = SimpleNamespace(augment=lambda inputs, stream: inputs)
    split = Split(inputs=torch.arange(10.0)[:, None], targets=torch.arange(10))
    plan = SimpleNamespace(splits=SimpleNamespace(train=split), task=task, batch_size=4, name="grown")
    return SimpleNamespace(plan=plan, batches=BatchStream(split, task, 4, seed=7))


def clock(step: float) -> Any:
    return iter(step * number for number in range(1_000)).__next__


def watched(host: Any, clock: Any, *sinks: Any) -> None:
    """Have sinks told of a host's progress, in step."""
    hub = Hub({str(index): sink for index, sink in enumerate(sinks)}, in_step=True)
    hub.open({"name": "run"})
    Progress(hub, clock).watch(host)


def test_every_batch_is_told_of_when_there_is_time_and_all_batches_are_the_same() -> None:
    plain, counted, sink = host(), host(), Showing()
    watched(counted, clock(INTERVAL), Silent(), sink)
    for (inputs, targets), (others, labels) in zip(plain.batches.epoch(3), counted.batches.epoch(3), strict=True):
        assert torch.equal(inputs, others)
        assert torch.equal(targets, labels)
    assert sink.told == [("grown", 3, 1, 3), ("grown", 3, 2, 3), ("grown", 3, 3, 3)]


def test_another_seed_of_the_data_is_followed() -> None:
    plain, counted = host(), host()
    watched(counted, clock(1.0), Showing())
    plain.batches.seed = counted.batches.seed = 8
    first, other = next(plain.batches.epoch(0)), next(counted.batches.epoch(0))
    assert torch.equal(first[0], other[0])


def test_within_the_interval_nothing_is_told() -> None:
    counted, sink = host(), Showing()
    watched(counted, clock(INTERVAL / 10), sink)
    assert len([*counted.batches.epoch(0)]) == 3
    assert sink.told == [("grown", 0, 1, 3)]


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(0)])
def test_what_a_sink_raises_ends_its_progress_alone(error: BaseException) -> None:
    counted, broken, sound = host(), Showing(error), Showing()
    watched(counted, clock(1.0), broken, sound)
    assert len([*counted.batches.epoch(0)]) == 3
    assert (len(broken.told), len(sound.told)) == (1, 3)


def test_batches_are_not_counted_where_nobody_shows_them() -> None:
    left = host()
    before = left.batches
    watched(left, clock(1.0), Silent())
    assert left.batches is before


def test_a_run_in_a_terminal_shows_steps(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.05)
    told: list[tuple[str, int, int, int]] = []
    shown = ConsoleSink.progress

    def noted(sink: ConsoleSink, host: str, epoch: int, done: int, steps: int) -> None:
        told.append((host, epoch, done, steps))
        shown(sink, host, epoch, done, steps)

    monkeypatch.setattr(ConsoleSink, "progress", noted)
    epochs = 8  # so many that on a busy machine too something is drawn of both
    settings = [f"runs={tmp_path}", f"epochs={epochs}", "twin=epochs", "sinks.console.live=true"]
    done = CliRunner().invoke(cli, ["run", "digits", *(part for one in settings for part in ("--set", one))])
    assert done.exit_code == 0, done.output
    # The sink has a thread of its own: while it draws, only the newest step counts.
    steps = told[0][3]
    order = [(name, epoch, n + 1, steps) for epoch in range(epochs) for name in ("twin", "grown") for n in range(steps)]
    assert told == [step for step in order if step in told]
    assert {step[0] for step in told} == {"twin", "grown"}
    kinds = {json.loads(line)["kind"] for line in (tmp_path / "digits-1/events.jsonl").read_text().splitlines()}
    assert not [kind for kind in kinds if "progress" in kind]


def test_the_console_shows_progress() -> None:
    assert isinstance(ConsoleSink(ConsoleConfig()), ShowsProgress)
