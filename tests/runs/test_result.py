from typing import Any

import pytest
import torch

from esper_core.leyline.evidence import Compute, EpochMetrics
from esper_core.leyline.reports import FieldReport, FinalReport
from esper_core.leyline.stages import Stage
from esper_runs.result import RunEnd, answers_asked, control_of, is_control, is_twin, pair_results, run_result, twin_of

SEED = FieldReport(
    slot="block0",
    seed_id="s1",
    blueprint="noop",
    parameters=3,
    germinated_epoch=2,
    ended_epoch=9,
    final_stage=Stage.FOSSILIZED,
    epochs_by_stage={"TRAINING": 2},
)


def final(host: str, accuracy: float, **changes: Any) -> FinalReport:
    facts: dict[str, Any] = {
        "epochs": 40,
        "parameters": 438,
        "host_parameters": 438,
        "forward_flops": 1000,
        "train_seconds": 1.5,
        "measure_seconds": 0.5,
    }
    return FinalReport(host=host, test=EpochMetrics(loss=0.5, accuracy=accuracy, samples=360), **(facts | changes))


def test_the_grown_network_stands_beside_its_twin() -> None:
    grown = final("grown", 0.95, parameters=500, seeds=(SEED,))
    result = run_result("digits", [grown], [final("twin", 0.90)], RunEnd.COMPLETED)
    assert (result["task"], result["outcome"]) == ("digits", "completed")
    assert list(result["hosts"]) == ["grown", "twin"]
    assert result["hosts"]["grown"]["test_accuracy"] == 0.95
    assert round(result["difference"]["test_accuracy"], 9) == 0.05
    assert result["difference"]["parameters"] == 62
    assert result["seeds"][0]["host"] == "grown"
    assert result["seeds"][0]["final_stage"] == "FOSSILIZED"


def test_what_cannot_be_counted_has_no_difference() -> None:
    result = run_result("digits", [final("grown", 0.9, forward_flops=None)], [final("twin", 0.9)], RunEnd.COMPLETED)
    assert result["difference"]["forward_flops"] is None


def test_without_twin_there_is_no_difference() -> None:
    assert run_result("digits", [final("grown", 0.9)], [], RunEnd.STOPPED)["difference"] is None


def test_each_of_several_hosts_has_its_own_difference() -> None:
    two = [final("grown-1", 0.9, seeds=(SEED,)), final("grown-2", 0.8)]
    twins = [final("twin-1", 0.8), final("twin-2", 0.9)]
    result = run_result("digits", two, twins, RunEnd.INTERRUPTED)
    assert result["difference"] is None
    gains = {host: round(found["test_accuracy"], 9) for host, found in result["differences"].items()}
    assert gains == {"grown-1": 0.1, "grown-2": -0.1}
    assert result["twins"] == {"grown-1": "twin-1", "grown-2": "twin-2"}

    pairs = pair_results(result)
    assert [list(pair["hosts"]) for pair in pairs.values()] == [["grown-1", "twin"], ["grown-2", "twin"]]
    assert pairs["grown-2"]["hosts"]["twin"]["test_accuracy"] == 0.9
    assert [len(pair["seeds"]) for pair in pairs.values()] == [1, 0]
    assert pairs["grown-1"]["difference"] == result["differences"]["grown-1"]
    alone = run_result("digits", two[:1], [], RunEnd.COMPLETED)
    assert pair_results(alone) == {"grown-1": alone}


def test_controls_of_equal_compute_stand_beside_the_twins() -> None:
    two = [final(f"grown-{n}", 0.9, compute=Compute(training=n, candidates=3)) for n in (1, 2)]
    twins = [final(f"twin-{n}", 0.8, compute=Compute(training=1)) for n in (1, 2)]
    controls = {"grown-2": final("control-2", 0.85, compute=Compute(training=4, evaluation=1))}
    result = run_result("digits", two, twins, RunEnd.COMPLETED, controls=controls)
    assert result["controls"] == {"grown-2": "control-2"}
    assert round(result["compute_differences"]["grown-2"]["test_accuracy"], 9) == 0.05
    assert result["compute_difference"] is None
    assert result["spent_flops"] == (1 + 3) + (2 + 3) + 1 + 1 + 5
    pairs = pair_results(result)
    assert [list(pair["hosts"]) for pair in pairs.values()] == [["grown-1", "twin"], ["grown-2", "twin", "control"]]
    assert pairs["grown-2"]["compute_difference"] == result["compute_differences"]["grown-2"]
    one = run_result("digits", two[:1], [], RunEnd.COMPLETED, controls={"grown-1": controls["grown-2"]})
    assert one["compute_difference"] == one["compute_differences"]["grown-1"]


def test_twins_are_known_by_their_names() -> None:
    assert all(is_twin(name) for name in ("twin", "twin-3", "control", "control-3"))
    assert not any(is_twin(name) for name in ("grown", "grown-3", "twins", "controls"))
    assert [is_control(name) for name in ("control", "control-3", "twin", "grown")] == [True, True, False, False]
    assert [control_of(name) for name in ("grown", "grown-3", "mine")] == ["control", "control-3", "control"]
    assert [twin_of(name) for name in ("grown", "grown-3", "mine")] == ["twin", "twin-3", "twin"]


@pytest.mark.parametrize(
    ("targets", "asked"),
    [
        (torch.zeros(7, dtype=torch.int64), {"unit": "samples", "count": 7}),
        (torch.zeros(7, 4, dtype=torch.int64), {"unit": "positions", "count": 28}),
        (torch.tensor([[1, -100, 2], [-100, 0, 0]]), {"unit": "positions", "count": 4}),
        (torch.tensor([[1, -100, -100], [-100, 0, 0]]), None),
        (torch.zeros(7), None),
    ],
)
def test_an_accuracy_is_a_share_of_what_was_asked(targets: torch.Tensor, asked: dict[str, Any] | None) -> None:
    assert answers_asked(targets) == asked
    assert run_result("text", [final("grown", 0.9)], [], RunEnd.COMPLETED, share_of=asked)["test_share_of"] == asked
