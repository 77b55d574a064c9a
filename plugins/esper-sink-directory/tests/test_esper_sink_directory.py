import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esper_core.api import EsperError, Event, EventKind
from esper_runs.event_log import read_event_log
from esper_runs.run_list import list_runs
from esper_sink_directory.config import DirectoryConfig
from esper_sink_directory.sink import POINTER, DirectorySink

STARTED = "2026-11-28T18:23:00+00:00"
STEM = "telemetry_2026-11-28_182300"


def event(sequence: int = 0, kind: str = "notice", **data: Any) -> Event:
    return Event(kind=EventKind(kind), host="grown", data=data, sequence=sequence, time=12.5)


def numbers(folder: Path) -> list[int]:
    log = read_event_log(folder / "events.jsonl")
    assert log is not None
    assert not log.torn
    return [it["sequence"] for it in log.events]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., DirectorySink]]:
    sinks: list[DirectorySink] = []

    def make(name: str = "digits-1", resumed_at: int | None = None, **options: Any) -> DirectorySink:
        sink = DirectorySink(DirectoryConfig(**options))
        (tmp_path / "runs" / name).mkdir(parents=True, exist_ok=True)
        more = {} if resumed_at is None else {"resumed_at": resumed_at}
        sink.open({"directory": str(tmp_path / "runs" / name), "name": name, "started": STARTED} | more)
        sinks.append(sink)
        return sink

    yield make
    for sink in sinks:
        sink.close()


def test_a_run_has_a_folder_with_log_manifest_and_result(opened: Any, tmp_path: Path) -> None:
    sink = opened(base=str(tmp_path / "logs"))
    folder = tmp_path / "logs" / STEM
    assert json.loads((folder / "manifest.json").read_text())["name"] == "digits-1"
    sink.emit([event(0), event(1)])
    assert numbers(folder) == [0, 1]
    assert not (folder / "result.json").exists()
    sink.emit([event(2, "run_finished", outcome="completed", loss=float("nan"))])
    assert json.loads((folder / "result.json").read_text()) == {"outcome": "completed", "loss": "NaN"}


def test_runs_of_one_second_do_not_share_a_folder(opened: Any, tmp_path: Path) -> None:
    for number in range(3):
        opened(f"digits-{number}").emit([event(number)])
    base = tmp_path / "runs" / "telemetry"
    assert [numbers(base / f"{STEM}{end}") for end in ("", "-2", "-3")] == [[0], [1], [2]]
    # The folder of them all is no run.
    assert list_runs(tmp_path / "runs") == []


def test_a_resumed_run_goes_on_in_its_own_folder(opened: Any, tmp_path: Path) -> None:
    for name in ("digits-1", "digits-2"):
        sink = opened(name)
        sink.emit([event(number) for number in range(6)])
        sink.close()
    opened("digits-2", resumed_at=4).emit([event(4)])
    base = tmp_path / "runs" / "telemetry"
    assert sorted(path.name for path in base.iterdir()) == [STEM, f"{STEM}-2"]
    assert numbers(base / STEM) == [*range(6)]
    assert numbers(base / f"{STEM}-2") == [*range(5)]


@pytest.mark.parametrize(
    "pointer", ["../../victim", "victim", "", "x" * 300, "telemetry_2026-11-28_182300/../../victim", STEM]
)
def test_what_a_run_remembers_cannot_lead_elsewhere(opened: Any, tmp_path: Path, pointer: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "events.jsonl").write_text(before := '{"kind": "notice", "sequence": 9}\n')
    (run := tmp_path / "runs" / "digits-1").mkdir(parents=True)
    (run / POINTER).write_text(pointer)
    if pointer == STEM:
        (tmp_path / "runs" / "telemetry").mkdir()
        (tmp_path / "runs" / "telemetry" / STEM).symlink_to(victim)
    opened(resumed_at=0).emit([event(0)])
    assert (victim / "events.jsonl").read_text() == before
    assert not (victim / "manifest.json").exists()
    (folder,) = [path for path in (tmp_path / "runs" / "telemetry").iterdir() if not path.is_symlink()]
    assert numbers(folder) == [0]


def test_an_unwritable_base_and_none_are_told_when_the_run_begins(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(EsperError) as caught:
        opened(base=str(tmp_path / "taken"))
    assert caught.value.code == "E504"
    with pytest.raises(EsperError, match="nowhere to write"):
        DirectorySink(DirectoryConfig()).open({"directory": None})


def test_without_a_run_directory_a_base_is_enough(tmp_path: Path) -> None:
    sink = DirectorySink(DirectoryConfig(base=str(tmp_path / "logs"), fsync=True))
    sink.open({"directory": None, "name": "mine"})
    sink.emit([event(0)])
    sink.flush()
    sink.close()
    (folder,) = (tmp_path / "logs").iterdir()
    assert numbers(folder) == [0]


def test_a_full_disk_costs_the_batch_but_never_tears_a_line(opened: Any, tmp_path: Path) -> None:
    sink = opened()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        sink.emit([event(0)])
        with pytest.raises(OSError, match="File too large"):
            sink.emit([event(1, message="x" * 700)])
        sink.emit([event(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert numbers(tmp_path / "runs" / "telemetry" / STEM) == [0, 2]
