"""The words that `esper show` ends with."""

import pytest

from esper_runs.verdict import verdict


def words(gain: float, test_gain: dict[str, float] | None) -> str:
    difference = {"test_accuracy": gain, "parameters": 600, "test_gain": test_gain}
    seeds = [{"final_stage": "FOSSILIZED", "ablation": {"mean": 0.4}}]
    return verdict({"outcome": "completed", "difference": difference, "seeds": seeds})


@pytest.mark.parametrize(
    ("gain", "loss_gain", "error", "judged"),
    [
        (0.025, 0.1, 0.01, "Growing paid"),
        (0.025, 0.1, 0.06, "Growing made no clear difference"),
        (0.025, -0.1, 0.01, "Growing made no clear difference"),
        (-0.025, -0.1, 0.01, "Growing did not pay"),
        (-0.025, -0.1, 0.06, "Growing made no clear difference"),
        (0.0, 0.1, 0.06, "Growing made no difference"),
        (0.0, 0.1, 0.01, "Growing made no clear difference"),
    ],
)
def test_a_judgement_needs_losses_that_bear_it_out(gain: float, loss_gain: float, error: float, judged: str) -> None:
    assert words(gain, {"mean": loss_gain, "standard_error": error}).startswith(f"{judged}: ")


@pytest.mark.parametrize(("gain", "judged"), [(0.025, "Growing paid"), (-0.025, "Growing did not pay")])
def test_without_paired_losses_the_accuracies_judge(gain: float, judged: str) -> None:
    assert words(gain, None).startswith(f"{judged}: ")


def test_losses_that_are_no_numbers_bear_nothing_out() -> None:
    told = words(0.025, {"mean": float("nan"), "standard_error": float("nan")})
    assert told.startswith("Growing made no clear difference: ")
    assert "no finite number" in told


def test_networks_that_are_the_same_are_not_set_beside_chance() -> None:
    told = words(0.0, {"mean": 0.0, "standard_error": 0.0})
    assert "lose the same on every test sample" in told
    assert "chance" not in told
