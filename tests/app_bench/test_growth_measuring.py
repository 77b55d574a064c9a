"""How the benchmark goes about it: which runs are asked for in which order, and what a cut leaves."""

from types import SimpleNamespace

import pytest
from attrs import evolve

from esper_app_bench.growth import measuring
from esper_app_bench.growth.arms import GROWN, HOST, STATIC, arms
from esper_app_bench.growth.measuring import measure
from esper_app_bench.growth.tasks import BenchTask
from esper_studies import RunFigures, StudyRun

RATES = (0.03, 0.1, 0.3)
TASK = BenchTask(
    name="digits",
    task="digits",
    settings={"epochs": 4},
    rates=RATES,
    seeds=(0, 1),
    tuning_seeds=(100, 101),
    wider=lambda: iter([{"host.widths": [6, 6]}, {"host.widths": [8, 8]}]),
)


class MadeUp:
    """A study whose runs are made up: every figure follows from the settings."""

    def __init__(self, most=None, failing=lambda settings: False):
        self.asked = []
        self._most, self._failing = most, failing

    def resolve(self, request):
        configuration = SimpleNamespace(config=SimpleNamespace(epochs=request.options.settings["epochs"]))
        return SimpleNamespace(configuration=configuration, plugins=None)

    def run(self, requests):
        return [self._run(request.options.settings) for request in requests]

    def _run(self, settings):
        if self._most is not None and len(self.asked) >= self._most:
            return None
        self.asked.append(settings)
        name = "-".join(f"{key}={value}" for key, value in sorted(settings.items()))
        failure = "it broke" if self._failing(settings) else None
        result = None if failure else settings
        return StudyRun(name=name, directory=f"/runs/{len(self.asked)}", result=result, failure=failure)


def figures(run, *, whole):
    """Growing is best at the middle rate, everything else at the highest."""
    assert whole  # what a twin takes is charged
    if run.result is None:
        return None
    settings, grows = run.result, run.result.get("policy.name") != "null"
    best = 0.1 if grows else 0.3
    loss = 0.5 + abs(settings["optimizer.lr"] - best) - 0.1 * grows
    return RunFigures(
        loss=loss + 10,  # what the test split says must decide nothing
        accuracy=0.9,
        validation_loss=loss,
        parameters=400,
        forward_flops=800,
        flops=(1000 if grows else 100) * settings["epochs"],
        seconds=2.0 * settings["epochs"],
        epochs=settings["epochs"],
        germinated=2 * grows,
        kept=2 * grows,
    )


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    prospect = SimpleNamespace(
        parameters=200, forward_flops=400, epoch_flops=100, constant_loss=2.3, constant_accuracy=0.1
    )
    monkeypatch.setattr(measuring, "figures_of", figures)
    monkeypatch.setattr(
        "esper_app.api.prospects", lambda configurations, plugins: (prospect,) * len(configurations), raising=False
    )


def run(study, task=TASK):
    return measure(study, task, arms(), lambda words: None)


def test_every_arm_tries_the_same_rates_with_seeds_that_measure_nothing():
    study = MadeUp()
    found = run(study)
    assert found.missing == 0
    tuned = [it for it in study.asked if it["seed"] in TASK.tuning_seeds]
    assert len(tuned) == len(found.arms) * len(RATES) * 2
    for arm in found.arms:
        assert [*found.tuning[arm.name].losses] == [*RATES]
    assert {it["seed"] for it in study.asked} == {0, 1, 100, 101}


def test_a_rate_is_chosen_on_validation_and_kept_for_every_seed():
    found = run(MadeUp())
    assert (found.tuning[GROWN].rate, found.tuning[HOST].rate) == (0.1, 0.3)
    for arm, cells in found.cells.items():
        assert {cell.run.result["optimizer.lr"] for cell in cells.values()} == {found.tuning[arm].rate}
    assert found.tuning[GROWN].flops == 3 * 4000
    assert found.tuning[HOST].at_the_edge


def test_controls_are_measured_out_by_the_grown_run_of_their_own_seed():
    found = run(MadeUp())
    for seed in TASK.seeds:
        grown, host, static = (found.cells[arm][seed] for arm in (GROWN, HOST, STATIC))
        assert host.run.result["epochs"] == grown.figures.flops / 100 == 40
        assert static.run.result["host.run"] == str(grown.run.directory)
        assert found.cells["host-time"][seed].run.result["epochs"] == 4
        assert found.cells["replay"][seed].run.result["policy.run"] not in (None, str(grown.run.directory))


def test_a_cut_leaves_whole_random_seeds_first():
    whole = MadeUp()
    run(whole)
    study = MadeUp(most=len(whole.asked) - 3)
    found = run(study)
    assert found.missing == 3
    assert all(0 in cells for cells in found.cells.values())


@pytest.mark.parametrize("most", [0, 5, 40])
def test_nothing_is_measured_before_its_rate_is_chosen(most):
    found = run(MadeUp(most=most))
    assert all(arm in found.tuning for arm, cells in found.cells.items() if cells)
    assert found.missing == len(found.arms) * 2


def test_a_grown_run_that_failed_leaves_the_bare_host_in_the_place_of_its_controls():
    study = MadeUp(failing=lambda it: it.get("policy.name") == GROWN and it["seed"] == 1)
    found = run(study)
    assert found.missing == 0
    assert found.cells[GROWN][1].figures is None
    assert found.cells[HOST][1].run.result["epochs"] == 4
    assert "host.run" not in found.cells[STATIC][1].run.result
    assert found.cells[HOST][0].run.result["epochs"] == 40


def test_a_rate_at_which_runs_fail_is_judged_by_the_constant_answer():
    study = MadeUp(failing=lambda it: it.get("policy.name") == "null" and it["optimizer.lr"] == 0.3)
    found = run(study)
    assert found.tuning[HOST].losses[0.3] == 2.3
    assert found.tuning[HOST].rate == 0.1


def test_where_there_is_nothing_to_learn_few_arms_ask_whether_anything_comes_out():
    found = run(MadeUp(), evolve(TASK, control=True))
    assert {arm.name for arm in found.arms} == {GROWN, HOST, STATIC, "host-epochs"}


def test_arms_of_neurons_are_asked_of_their_trainer_and_only_where_the_host_can_be_widened():
    class Asked(MadeUp):
        trainers = []

        def run(self, requests):
            self.trainers += [(it.trainer, it.trainer_options.get("method")) for it in requests]
            return super().run(requests)

    study, all_arms = Asked(), arms(neurons=True)
    assert "tiny" not in measure(study, TASK, all_arms, lambda words: None).cells
    found = measure(study, evolve(TASK, neurons=True), all_arms, lambda words: None)
    assert [*found.cells["tiny"]] == [*found.cells["gradmax"]] == [*TASK.seeds]
    assert {*study.trainers} == {(None, None), ("neurons", "tiny"), ("neurons", "gradmax")}


def test_options_of_the_tasks_host_are_not_given_to_another_host():
    task = evolve(TASK, settings={**TASK.settings, "host.pool": 0})
    found = run(MadeUp(), task)
    static, host = (found.cells[arm][0].run.result for arm in (STATIC, HOST))
    assert static["host.name"] == "grown"
    assert "host.pool" not in static
    assert host["host.pool"] == 0


def test_a_task_that_names_its_arms_has_no_others_but_the_saved_policy_that_was_asked_for():
    task = evolve(TASK, arms=(GROWN, HOST, "host-epochs"))
    assert [*run(MadeUp(), task).cells] == ["host-epochs", GROWN, HOST]
    found = measure(MadeUp(), task, arms("runs/a/policy/best.json"), lambda words: None)
    assert [*found.cells] == ["host-epochs", GROWN, "policy", HOST]


def test_an_arm_that_is_not_tuned_has_the_middle_rate_and_no_choice():
    task = evolve(TASK, arms=(GROWN, "host-epochs"))
    untuned = [evolve(arm, tuned=arm.name != GROWN) for arm in arms()]
    study = MadeUp()
    found = measure(study, task, untuned, lambda words: None)
    assert {it["optimizer.lr"] for it in study.asked if it.get("policy.name") == GROWN} == {RATES[1]}
    assert (found.tuning[GROWN].rate, found.tuning[GROWN].at_the_edge) == (RATES[1], False)
    assert len(found.tuning["host-epochs"].losses) == 3
