"""The arms of the benchmark: how they are measured out by the grown run, and what they do where it has failed."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from attrs import evolve

from esper_app_bench.growth.arms import GROWN, HOST, PRIMARY, STATIC, Anchor, Place, arms
from esper_app_bench.growth.tasks import BUDGETS, wider_cnn, wider_transformer
from esper_studies import RunFigures

FIGURES = RunFigures(
    loss=0.3,
    accuracy=0.9,
    validation_loss=0.3,
    parameters=550,
    forward_flops=1500,
    flops=10_001,
    seconds=3.0,
    epochs=40,
    germinated=2,
    kept=2,
)
ANCHOR = Anchor(directory=Path("/study/runs/grown"), figures=FIGURES, host_seconds=0.07)
TASK = next(it for it in BUDGETS["quick"]() if it.name == "digits")


def size_of(host):
    """A made-up host whose costs follow from its settings."""
    widths = host.get("host.widths", [4, 4])
    size = 1000 if "host.run" in host else sum(widths) * 50
    return SimpleNamespace(parameters=size, forward_flops=2 * size, epoch_flops=size)


def place(**changes):
    found = Place(
        task=TASK,
        epochs=40,
        anchor=ANCHOR,
        recorded=Path("/study/runs/recorded"),
        prospects=lambda hosts: tuple(size_of(host) for host in hosts),
    )
    return evolve(found, **changes)


def settings(name, **changes):
    return next(arm for arm in arms() if arm.name == name).settings(place(**changes))


def test_every_arm_has_a_name_of_its_own_and_the_primary_ones_are_among_them():
    names = [arm.name for arm in arms("runs/a/policy/best.json")]
    assert len(set(names)) == len(names)
    assert {GROWN, *PRIMARY, "policy"} <= {*names}
    assert "policy" not in [arm.name for arm in arms()]
    assert all(not arm.says.endswith(".") for arm in arms())


def test_controls_of_equal_compute_have_at_least_as_much_of_it():
    assert settings(HOST) == {"policy.name": "null", "epochs": 26}  # 26 * 400 >= 10001 > 25 * 400
    assert settings(STATIC) == {
        "policy.name": "null",
        "host.name": "grown",
        "host.run": "/study/runs/grown",
        "host.live": "keep",
        "epochs": 11,
    }


def test_equal_time_counts_epochs_of_the_bare_host():
    assert settings("host-time")["epochs"] == 43  # 3.0 s of 0.07 s each, rounded up
    assert settings("host-epochs")["epochs"] == 40


def test_a_wider_host_is_the_nearest_in_size_and_has_equal_compute():
    parameters, flops = settings("wide-parameters"), settings("wide-flops")
    assert size_of(parameters).parameters in (500, 600)
    assert size_of(flops).forward_flops == 1600
    for found in (parameters, flops):
        assert (
            (found["epochs"] - 1) * size_of(found).epoch_flops
            < 10_001
            <= (found["epochs"] * size_of(found).epoch_flops)
        )


def test_where_nothing_is_gained_by_widening_the_host_stays_as_it_is():
    small = evolve(ANCHOR, figures=evolve(FIGURES, parameters=400, forward_flops=800))
    assert "host.widths" not in settings("wide-parameters", anchor=small)


def test_a_replay_repeats_the_recorded_run():
    assert settings("replay") == {"policy.name": "fixed-schedule", "policy.run": "/study/runs/recorded"}
    assert settings("replay", recorded=None) == {"policy.name": "fixed-schedule"}


@pytest.mark.parametrize("name", [HOST, "host-time", STATIC, "wide-parameters", "wide-flops"])
def test_where_the_grown_run_has_failed_they_are_the_bare_host(name):
    assert settings(name, anchor=None) == {"policy.name": "null", "epochs": 40}


def test_wider_hosts_grow_and_fit_their_groups_and_heads():
    widths = [it["host.widths"] for it in wider_cnn((4, 8))]
    assert all(width % 2 == 0 for pair in widths for width in pair)
    assert widths == sorted(widths)
    assert [4, 8] not in widths
    assert len({tuple(it) for it in widths}) == len(widths)
    assert all(it["host.width"] % 2 == 0 and it["host.width"] > 32 for it in wider_transformer(32, 2))


@pytest.mark.parametrize("budget", BUDGETS)
def test_tuning_seeds_measure_nothing_and_every_grid_has_three_rates(budget):
    for task in BUDGETS[budget]():
        assert not {*task.seeds} & {*task.tuning_seeds}
        assert len(set(task.rates)) == 3


def test_enough_seeds_are_planned_for_the_primary_comparisons_to_come_out():
    """The smallest p of the sign-flip test, times the number of comparisons, must be below the level."""
    for budget in ("quick", "full"):
        tasks = [it for it in BUDGETS[budget]() if it.tested]
        least = 2.0 ** (1 - min(len(it.seeds) for it in tasks))
        assert least * len(tasks) * len(PRIMARY) <= 0.0626, budget
        # A control can come out: with fewer seeds no interval could tell it.
        assert all(2.0 ** (1 - len(it.seeds)) <= 0.05 for it in BUDGETS[budget]() if it.control), budget


@pytest.mark.parametrize("budget", BUDGETS)
def test_tasks_name_arms_that_exist_and_those_that_the_others_are_measured_out_by(budget):
    names = {arm.name for arm in arms()}
    for task in BUDGETS[budget]():
        assert task.arms is None or {GROWN, "host-epochs", *PRIMARY} <= {*task.arms} <= names


def test_neurons_are_measured_out_like_the_other_arms_of_equal_compute():
    (tiny, gradmax) = (arm for arm in arms(neurons=True) if arm.trainer == "neurons")
    assert tiny.told(place()) == {"method": "tiny", "parameters": 550}
    assert gradmax.told(place()) == {"method": "gradmax", "parameters": 550}
    assert tiny.settings(place()) == {**settings(HOST), "flops": 10_001}
    # Where the grown run has failed there is nothing to measure them out by: the bare host, as for the others.
    assert tiny.told(place(anchor=None)) is None
    assert tiny.settings(place(anchor=None)) == settings(HOST, anchor=None)
    assert all(arm.trainer is None for arm in arms())


def test_the_policy_that_decides_by_a_twin_has_one():
    assert settings("compute") == {"policy.name": "compute", "twin": "epochs"}
    assert all("twin" not in settings(arm.name) for arm in arms() if arm.name != "compute")
