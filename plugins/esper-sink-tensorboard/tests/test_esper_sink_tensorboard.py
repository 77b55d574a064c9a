import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from esper_core.api import EsperError, Event, EventKind
from esper_sink_tensorboard.config import TensorboardConfig
from esper_sink_tensorboard.event_file import NAME
from esper_sink_tensorboard.sink import TensorboardSink

CONFIG = {"epochs": 10, "twin": "epochs", "task": {"name": "digits"}, "host": {"widths": [4, 8], "pool": None}}


def epoch(sequence: int, number: int, host: str = "grown", loss: float = 0.5, slot: str = "block0") -> Event:
    seed = {"slot": slot, "stage": "BLENDING", "alpha": 0.25, "contribution": {"mean": 0.125, "standard_error": 0.5}}
    data = {"validation": {"loss": loss, "accuracy": 0.75}, "parameters": 438, "seeds": [seed]}
    return Event(kind=EventKind.EPOCH_COMPLETED, host=host, epoch=number, data=data, sequence=sequence, time=100.0)


def transition(sequence: int, number: int) -> Event:
    data = {"slot": "block0", "blueprint": "mlp", "source": "TRAINING", "target": "BLENDING", "cause": "gate"}
    data["reason"] = "it is **small** \udc80 <b>"
    return Event(kind=EventKind.SEED_TRANSITION, host="grown", epoch=number, data=data, sequence=sequence, time=101.0)


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(it.step, it.value) for it in read(folder).Scalars(tag)]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., TensorboardSink]]:
    sinks: list[TensorboardSink] = []

    def make(name: str = "digits-1", resumed_at: int | None = None, **options: Any) -> TensorboardSink:
        sink = TensorboardSink(TensorboardConfig(**options))
        (tmp_path / "digits-1").mkdir(exist_ok=True)
        manifest = {"directory": str(tmp_path / "digits-1"), "name": name, "started": "2026", "config": CONFIG}
        sinks.append(sink)
        sink.open(manifest | ({} if resumed_at is None else {"resumed_at": resumed_at}))
        return sink

    yield make
    for sink in sinks:
        sink.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "digits-1" / "tensorboard"


def test_each_host_is_a_run_with_its_numbers_by_epoch(opened: Any, root: Path) -> None:
    sink = opened()
    for number in range(3):
        sink.emit([epoch(2 * number, number, "twin", 1.0), epoch(2 * number + 1, number, loss=0.5)])
    assert scalars(root / "twin", "validation/loss") == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert scalars(root / "grown", "gain") == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert scalars(root / "grown", "slots/block0/alpha")[2] == (2, 0.25)
    assert scalars(root / "grown", "slots/block0/contribution_error")[0] == (0, 0.5)
    assert scalars(root / "grown", "parameters")[1] == (1, 438.0)


def test_what_happened_is_text(opened: Any, root: Path) -> None:
    opened().emit([transition(0, 3)])
    (found,) = read(root / "grown").Tensors("events/seed_transition")
    text = found.tensor_proto.string_val[0].decode()
    assert (found.step, text) == (3, "block0 mlp: TRAINING → BLENDING, by gate: it is **small** \\udc80 <b>")


def test_options_are_hyperparameters(opened: Any, root: Path) -> None:
    opened()
    content = read(root).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert (found["epochs"].number_value, found["task.name"].string_value) == (10, "digits")
    assert (found["host.widths"].string_value, found["host.pool"].string_value) == ("[4, 8]", "none")


def test_the_end_stands_behind_the_last_epoch(opened: Any, root: Path) -> None:
    result = {"hosts": {"grown": {"epochs": 3, "test_accuracy": 0.875}, "twin": {"epochs": 3, "test_accuracy": 0.5}}}
    opened().emit([epoch(0, 2), Event(kind=EventKind.RUN_FINISHED, data=result, sequence=1)])
    assert scalars(root / "grown", "test/accuracy") == [(3, 0.875)]
    assert scalars(root / "twin", "test/accuracy") == [(3, 0.5)]


def test_a_loss_that_is_no_number_is_shown_as_such(opened: Any, root: Path) -> None:
    opened().emit([epoch(0, 0, loss=nan)])
    ((_, value),) = scalars(root / "grown", "validation/loss")
    assert isnan(value)


@pytest.mark.parametrize("torn", [b"", b"\x05", b"\x20\0\0\0\0\0\0\0abcdefgh"])
def test_a_resumed_run_tells_nothing_twice(opened: Any, root: Path, torn: bytes) -> None:
    sink = opened()
    sink.emit([it for n in range(4) for it in (epoch(3 * n, n, "twin"), transition(3 * n + 1, n), epoch(3 * n + 2, n))])
    sink.close()
    with (root / "grown" / NAME).open("ab") as file:
        file.write(torn)
    sink = opened(resumed_at=6)
    sink.emit([epoch(6, 2, "twin", 9.0), epoch(7, 2, loss=9.0)])
    assert scalars(root / "grown", "validation/loss") == [(0, 0.5), (1, 0.5), (2, 9.0)]
    assert scalars(root / "twin", "validation/loss") == [(0, 0.5), (1, 0.5), (2, 9.0)]
    assert [it.step for it in read(root / "grown").Tensors("events/seed_transition")] == [0, 1]
    assert len(read(root).summary_metadata) == 1


def test_runs_share_a_directory_but_no_folder(opened: Any, tmp_path: Path) -> None:
    logdir = tmp_path / "logs"
    for name in ("digits-1", "../../digits-2\n", "x" * 300):
        opened(name, logdir=str(logdir)).emit([epoch(0, 0, slot="../../a")])
    assert len(list(logdir.iterdir())) == 3
    assert len(list(logdir.rglob(NAME))) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits-1", "logs"]
    with pytest.raises(EsperError) as caught:
        opened("digits-1", logdir=str(logdir))
    assert (caught.value.code, "another run" in (caught.value.why or "")) == ("E504", True)


def test_a_hostile_host_stays_within_the_folder(opened: Any, root: Path) -> None:
    opened().emit([epoch(0, 0, host="../../../outside")])
    (folder,) = [path for path in root.iterdir() if path.is_dir()]
    assert scalars(folder, "validation/loss") == [(0, 0.5)]


def test_another_file_and_a_link_are_refused_and_left_alone(opened: Any, root: Path, tmp_path: Path) -> None:
    root.mkdir(parents=True)
    (root / NAME).write_bytes(b"precious")
    (victim := tmp_path / "victim").mkdir()
    for resumed_at in (None, 3):
        with pytest.raises(EsperError, match="cannot write"):
            opened(resumed_at=resumed_at)
    assert (root / NAME).read_bytes() == b"precious"
    (root / NAME).unlink()
    opened().close()
    (root / "grown").symlink_to(victim, target_is_directory=True)
    with pytest.raises(EsperError, match="cannot write") as caught:
        opened(resumed_at=0)
    assert "symbolic link" in (caught.value.why or "")
    assert list(victim.iterdir()) == []


def test_an_unwritable_place_and_none_are_told_when_the_run_begins(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(EsperError) as caught:
        opened(logdir=str(tmp_path / "taken"))
    assert caught.value.code == "E504"
    with pytest.raises(EsperError, match="nowhere to write"):
        TensorboardSink(TensorboardConfig()).open({"directory": None})


def test_a_full_disk_costs_the_batch_and_leaves_whole_records(opened: Any, root: Path) -> None:
    sink = opened()
    sink.emit([epoch(0, 0)])
    size = (root / "grown" / NAME).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            sink.emit([epoch(1, 1)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    sink.emit([epoch(2, 2)])
    assert [step for step, _ in scalars(root / "grown", "validation/loss")] == [0, 2]


def test_neither_torch_nor_tensorflow_is_imported() -> None:
    code = "import sys, esper_sink_tensorboard.sink; print({'torch', 'tensorflow', 'grpc'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
