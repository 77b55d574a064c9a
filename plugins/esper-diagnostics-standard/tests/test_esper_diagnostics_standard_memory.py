"""The figures of `memory`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from esper_diagnostics_standard import memory
from esper_diagnostics_standard.memory import MemoryConfig, MemoryDiagnostic, MemoryUsage, process_memory

MEBI = 1 << 20


def view(device: Any = None, epoch: int = 0) -> Any:
    return SimpleNamespace(epoch=epoch, targets=SimpleNamespace(device=device or torch.device("cpu")))


def test_what_a_process_holds_rises_and_falls_and_its_peak_stays() -> None:
    before = process_memory()[0] or 0
    held = torch.ones(64 * MEBI, dtype=torch.uint8)
    during, highest = (it or 0 for it in process_memory())
    del held
    after, peak = (it or 0 for it in process_memory())
    assert before > MEBI
    assert during - before > 60 * MEBI < during - after
    # The kernel counts pages in each thread, and adds them up now and then.
    assert peak > highest - MEBI >= during - MEBI


def test_the_peak_is_not_that_of_the_process_that_started_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "status").write_text("Name:\ta: b\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\n")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    assert process_memory() == (2 * MEBI, 4 * MEBI)


@pytest.mark.parametrize("status", [None, "VmRSS:\t12 MB\nVmHWM:\t12 MB\n", "VmRSS:\t12 kB\n"])
def test_where_the_system_says_less_the_peak_is_known_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    if status is not None:
        (tmp_path / "status").write_text(status)
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    resident, peak = process_memory()
    assert resident is None
    assert (peak or 0) > MEBI


def test_a_cuda_device_is_asked_about_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    device, asked = torch.device("cuda:1"), []
    numbers = {"memory_allocated": 1, "memory_reserved": 2, "max_memory_allocated": 3, "max_memory_reserved": 4}

    def answer(value: Any) -> Any:
        return lambda given: asked.append(given) or value

    for name, value in (numbers | {"mem_get_info": (5, 6)}).items():
        monkeypatch.setattr(torch.cuda, name, answer(value))
    found = MemoryDiagnostic(MemoryConfig()).examine(view(device))
    assert found is not None
    assert (found.device, found.allocated, found.reserved) == ("cuda:1", 1, 2)
    assert (found.peak, found.peak_reserved, found.free, found.total) == (3, 4, 5, 6)
    assert (found.resident or 0) > MEBI
    assert asked == [device] * 5


def test_it_looks_as_often_as_it_is_told_to() -> None:
    diagnostic = MemoryDiagnostic(MemoryConfig(every=3))
    found = [diagnostic.examine(view(epoch=epoch)) for epoch in range(7)]
    assert [isinstance(it, MemoryUsage) for it in found] == [True, False, False, True, False, False, True]
    with pytest.raises(ValueError, match="every"):
        MemoryConfig(every=0)
