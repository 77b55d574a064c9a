"""What Weights & Biases and trackio have of a run afterwards, both of them real and offline."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esper_core.api import EsperError, Event, EventKind
from esper_sink_wandb.config import WandbConfig
from esper_sink_wandb.sink import POINTER, WandbSink

pytestmark = pytest.mark.slow

Rows = dict[int, dict[str, float]]
CONFIG = {"epochs": 10, "task": {"name": "digits"}, "host": {"widths": [4, 8], "pool": None}}


def epoch(sequence: int, number: int, host: str = "grown", loss: float = 0.25, slot: str = "block0") -> Event:
    data = {"validation": {"loss": loss}, "seeds": [{"slot": slot, "stage": "BLENDING", "alpha": 0.5}]}
    return Event(kind=EventKind.EPOCH_COMPLETED, host=host, epoch=number, data=data, sequence=sequence, time=100.0)


def finished(sequence: int) -> Event:
    data = {"outcome": "completed", "hosts": {"grown": {"epochs": 4, "test_accuracy": 0.875}}}
    return Event(kind=EventKind.RUN_FINISHED, data=data, sequence=sequence)


def trackio_rows(project: str, run: Path) -> Rows:
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = [it for it in SQLiteStorage.get_runs(project) if it.endswith((run / POINTER).read_text().strip())]
    return {it["step"]: {k: v for k, v in it.items() if "/" in k} for it in SQLiteStorage.get_logs(project, name)}


def wandb_records(file: Path) -> Iterator[bytes]:
    """A file of Weights & Biases is a log of LevelDB's: blocks of 32 KiB, with parts of records in them."""
    data, place, record = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def wandb_rows(project: str, run: Path) -> Rows:
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its process has written everything only when it ends, as it does with this one
    rows: Rows = {}
    for file in sorted(run.glob("wandb/offline-run-*/run-*.wandb")):
        for data in wandb_records(file):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.WhichOneof("record_type") == "history":
                items = {it.key or ".".join(it.nested_key): json.loads(it.value_json) for it in record.history.item}
                row = {key: value for key, value in items.items() if not key.startswith("_")}
                rows.setdefault(int(items["_step"]), {}).update(row)
    return rows


@pytest.fixture(params=["trackio", "wandb"])
def module(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rows(module: str) -> Callable[[str, Path], Rows]:
    return trackio_rows if module == "trackio" else wandb_rows


@pytest.fixture
def opened(tmp_path: Path, module: str) -> Iterator[Callable[..., WandbSink]]:
    sinks: list[WandbSink] = []

    def make(name: str = "digits-1", run: str = "run", resumed_at: int | None = None, **options: Any) -> WandbSink:
        sink = WandbSink(WandbConfig(**{"module": module, "project": f"p-{tmp_path.name}"} | options))
        (tmp_path / run).mkdir(exist_ok=True)
        manifest = {"directory": str(tmp_path / run), "name": name, "config": CONFIG}
        sinks.append(sink)
        sink.open(manifest | ({} if resumed_at is None else {"resumed_at": resumed_at}))
        return sink

    yield make
    for sink in sinks:
        sink.close()


@pytest.fixture
def project(tmp_path: Path) -> str:
    return f"p-{tmp_path.name}"


def test_an_epoch_is_one_row_and_the_end_another(opened: Any, rows: Any, project: str, tmp_path: Path) -> None:
    sink = opened()
    sink.emit(
        [epoch(2 * n + i, n, host, 0.25 if i else 0.5) for n in range(4) for i, host in enumerate(("twin", "grown"))]
    )
    sink.emit([finished(8)])
    sink.close()
    found = rows(project, tmp_path / "run")
    assert [*found] == [0, 1, 2, 3, 4]
    expected = {"twin/validation/loss": 0.5, "grown/validation/loss": 0.25, "grown/gain": 0.25}
    assert {key: found[3][key] for key in expected} == expected
    assert found[3]["grown/slots/block0/alpha"] == 0.5
    assert found[4]["grown/test/accuracy"] == 0.875


def test_a_resumed_run_is_the_same_run_and_tells_nothing_twice(
    opened: Any, rows: Any, project: str, tmp_path: Path
) -> None:
    for resumed_at, numbers in ((None, range(3)), (1, range(1, 5))):
        sink = opened(resumed_at=resumed_at)
        sink.emit([epoch(n, n) for n in numbers])
        sink.close()
    found = rows(project, tmp_path / "run")
    assert [*found] == [0, 1, 2, 3, 4]
    assert all(row["grown/validation/loss"] == 0.25 for row in found.values())


def test_runs_of_one_name_are_different_runs(opened: Any, rows: Any, project: str, tmp_path: Path) -> None:
    for number, run in enumerate(("first", "second")):
        sink = opened(run=run)
        sink.emit([epoch(0, 0, loss=float(number))])
        sink.close()
    assert [rows(project, tmp_path / run)[0]["grown/validation/loss"] for run in ("first", "second")] == [0.0, 1.0]


def test_hostile_names_stay_within_their_place(opened: Any, rows: Any, tmp_path: Path) -> None:
    name = "../../\x1b[1m\n" + "x" * 500
    sink = opened(name, project=name)
    sink.emit([epoch(0, 0, slot=name)])
    sink.close()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize("pointer", ["", "../../x", "x" * 300])
def test_what_a_run_remembers_is_no_path(opened: Any, rows: Any, project: str, tmp_path: Path, pointer: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / POINTER).write_text(pointer)
    sink = opened(resumed_at=0)
    sink.emit([epoch(0, 0)])
    sink.close()
    assert [*rows(project, tmp_path / "run")] == [0]


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(EsperError) as caught:
        WandbSink(WandbConfig(module=module))
    assert (caught.value.code, caught.value.fix) == ("E504", f"pip install {module}")


def test_offline_nothing_is_sent_although_the_environment_names_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://127.0.0.1:9")
    with pytest.raises(EsperError, match="cannot begin") as caught:
        WandbSink(WandbConfig(module="trackio")).open({"directory": None, "name": "x"})
    assert caught.value.fix == "unset TRACKIO_SERVER_URL"


def test_online_without_a_login_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(EsperError, match="cannot go online") as caught:
        WandbSink(WandbConfig(mode="online")).open({"directory": str(tmp_path), "name": "x"})
    assert caught.value.code == "E504"


def test_nothing_is_written_where_the_program_happens_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_DIR", raising=False)
    with pytest.raises(EsperError, match="nowhere to write"):
        WandbSink(WandbConfig()).open({"directory": None, "name": "x"})
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_the_user_has_begun_goes_on(opened: Any, module: str, tmp_path: Path) -> None:
    if module == "trackio":
        import trackio

        theirs = trackio.init(project="theirs", name="mine", embed=False, auto_log_gpu=False, auto_log_cpu=False)
        opened().emit([epoch(0, 0)])
        assert trackio.context_vars.current_run.get() is theirs
        trackio.finish()
    else:
        import wandb

        theirs = wandb.init(project="theirs", mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))
        opened().emit([epoch(0, 0)])
        assert wandb.run is theirs
        theirs.log({"x": 1})
        theirs.finish()
