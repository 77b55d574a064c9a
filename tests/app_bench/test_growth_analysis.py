"""From cells to statements: rows, comparisons, pooled figures, and what becomes of runs that failed or are missing."""

import json
from pathlib import Path
from statistics import fmean

import pytest
from attrs import evolve

from esper_app_bench.growth.analysis import analyse
from esper_app_bench.growth.arms import GROWN, HOST, STATIC, arms
from esper_app_bench.growth.measuring import Cell, TaskMeasured, Tuning
from esper_app_bench.growth.output import DATA, MARKDOWN, PAGE, write
from esper_app_bench.growth.tables import sentences, state
from esper_app_bench.growth.tasks import BenchTask, wider_cnn
from esper_studies import RunFigures, StudyRun

SEEDS = tuple(range(8))
ARMS = tuple(arm for arm in arms() if arm.name in (GROWN, HOST, STATIC))


def cell(name, loss, flops=100, parameters=10, failure=None):
    run = StudyRun(name=name, directory=Path("/nowhere") / name, result=None if failure else {}, failure=failure)
    figures = RunFigures(
        loss=loss,
        accuracy=1 - loss,
        validation_loss=loss,
        parameters=parameters,
        forward_flops=20,
        flops=flops,
        seconds=1.0,
        epochs=4,
        germinated=1,
        kept=1,
    )
    return Cell(run=run, figures=None if failure else figures)


def measured(losses, *, control=False, name="digits", failed=(), **options):
    """A task with these losses by arm, one for each random seed; `failed` names arm and seed."""
    task = BenchTask(
        name=name, task="digits", rates=(0.1, 0.2, 0.3), seeds=SEEDS, wider=lambda: wider_cnn((4, 4)), control=control
    )
    tuned = {(rate, seed): cell(f"t{rate}{seed}", rate) for rate in task.rates for seed in task.tuning_seeds}
    tuning = Tuning(losses={0.1: 0.5, 0.2: 0.4, 0.3: 0.6}, flops=300, cells=tuned)
    cells = {
        arm: {
            seed: cell(f"{arm}{seed}", loss, failure="it broke" if (arm, seed) in failed else None, **options)
            for seed, loss in zip(SEEDS, row, strict=False)
        }
        for arm, row in losses.items()
    }
    return TaskMeasured(
        task=task,
        arms=ARMS,
        constant_loss=2.0,
        constant_accuracy=0.1,
        tuning=dict.fromkeys(cells, tuning),
        cells=cells,
    )


def losses(base, spread=0.01):
    return [base + spread * seed for seed in SEEDS]


BETTER = {GROWN: losses(0.3), HOST: losses(0.5, 0.012), STATIC: losses(0.3, 0.0101)}


def found(analysis, against, task="digits"):
    return next(it for it in analysis.comparisons if (it.task, it.against) == (task, against))


def test_the_rate_is_the_one_with_the_lowest_validation_loss():
    tuning = Tuning(losses={0.1: 0.4, 0.2: 0.4, 0.3: 0.5}, flops=None, cells={})
    assert (tuning.rate, tuning.at_the_edge) == (0.1, True)
    assert not Tuning(losses={0.1: 0.5, 0.2: 0.4, 0.3: 0.5}, flops=None, cells={}).at_the_edge


def test_a_gain_is_the_other_arms_loss_minus_the_grown_ones_seed_by_seed():
    analysis = analyse([measured(BETTER)])
    host = found(analysis, HOST)
    assert host.gain.mean == pytest.approx(fmean(b - a for a, b in zip(BETTER[GROWN], BETTER[HOST], strict=True)))
    assert (host.better, host.gain.pairs) == (8, 8)
    assert host.accuracy == pytest.approx(host.gain.mean)
    assert host.gain.p == pytest.approx(2 / 2**8)


def test_primary_comparisons_are_corrected_for_how_many_there_are():
    one, two = measured(BETTER), measured(BETTER, name="teacher")
    assert found(analyse([one]), HOST).p == pytest.approx(2 * 2 / 2**8)
    both = analyse([one, two])
    assert found(both, HOST).p == pytest.approx(4 * 2 / 2**8)
    assert found(both, HOST).clear
    assert found(both, HOST).smallest > found(analyse([one]), HOST).smallest


def test_what_is_planned_and_missing_is_corrected_for_as_well():
    part = {name: row for name, row in BETTER.items() if name != STATIC}
    analysis = analyse([measured(part)])
    assert found(analysis, HOST).p == pytest.approx(2 * 2 / 2**8)
    assert analysis.missing == 8
    assert "not complete, 8 runs are missing (digits: 0 to 8 of 8 random seeds)" in state(analysis)


def test_a_run_that_failed_counts_as_the_constant_answer():
    analysis = analyse([measured(BETTER, failed={(GROWN, 3)})])
    (row,) = (it for it in analysis.rows["digits"] if it.arm == GROWN)
    values = [*BETTER[GROWN][:3], 2.0, *BETTER[GROWN][4:]]
    assert (row.failed, row.loss.mean) == (1, pytest.approx(fmean(values)))
    assert found(analysis, HOST).better == 7
    assert not found(analysis, HOST).clear
    assert "1 of 8" in json.dumps([*map(str, analysis.rows["digits"])]) or row.failed == 1


def test_a_control_is_in_no_test_and_in_no_pooled_figure():
    quiet = {GROWN: losses(1.6), HOST: losses(1.6)[::-1], STATIC: losses(1.6, 0.011)}
    control = measured(quiet, control=True, name="random-labels")
    analysis = analyse([measured(BETTER), control])
    assert not any(it.primary for it in analysis.comparisons if it.task == "random-labels")
    assert found(analysis, HOST).p == found(analyse([measured(BETTER)]), HOST).p
    assert analysis.pooled == analyse([measured(BETTER)]).pooled
    said = [*sentences(analysis)]
    assert any(it.startswith("Control random-labels, against host-flops") and "as it must be" in it for it in said)
    loud = measured({**quiet, HOST: losses(1.9)}, control=True, name="random-labels")
    assert any("although there is nothing" in it for it in sentences(analyse([measured(BETTER), loud])))


def test_few_random_seeds_say_nothing_about_a_control():
    few = {name: row[:2] for name, row in {GROWN: losses(1.6), HOST: losses(1.9), STATIC: losses(1.6)}.items()}
    (said, _) = sentences(analyse([measured(few, control=True, name="random-labels")]))
    assert "2 random seeds are too few to tell" in said


def test_a_task_that_is_there_for_two_arms_alone_is_in_no_test_and_in_no_pooled_figure():
    flat = measured(BETTER, name="digits-flat")
    analysis = analyse([measured(BETTER), evolve(flat, task=evolve(flat.task, neurons=True))])
    assert not any(it.primary for it in analysis.comparisons if it.task == "digits-flat")
    assert found(analysis, HOST).p == found(analyse([measured(BETTER)]), HOST).p
    assert analysis.pooled == analyse([measured(BETTER)]).pooled


def test_scores_are_shares_of_the_constant_answers_loss_and_improvement_counts_pairs():
    analysis = analyse([measured(BETTER)])
    scores = {it.arm: it for it in analysis.pooled}
    middle = sorted(1 - it / 2.0 for it in BETTER[GROWN])[2:6]
    assert scores[GROWN].score.value == pytest.approx(fmean(middle))
    assert scores[GROWN].improvement is None
    assert scores[HOST].improvement == 1.0
    assert scores[STATIC].improvement == pytest.approx(0.5, abs=0.1)


def test_the_front_holds_what_nothing_cheaper_beats():
    cheap = measured(BETTER)
    costly = {**cheap.cells, HOST: {seed: cell(f"h{seed}", 0.9, flops=500) for seed in SEEDS}}
    rows = {it.arm: it for it in analyse([evolve(cheap, cells=costly)]).rows["digits"]}
    assert rows[HOST].front == ()
    assert set(rows[GROWN].front) == {"parameters", "FLOPs", "seconds"}


def test_too_few_seeds_show_nothing():
    few = {name: row[:3] for name, row in BETTER.items()}
    analysis = analyse([measured(few)])
    assert not found(analysis, HOST).clear
    assert any("no difference is shown" in it for it in sentences(analysis))


def test_everything_is_written_and_what_strangers_wrote_is_text(tmp_path):
    hostile = measured(BETTER, failed={(GROWN, 0)})
    broken = evolve(hostile.cells[GROWN][0].run, failure="<script>alert(1)</script>")
    hostile.cells[GROWN][0] = Cell(run=broken, figures=None)
    analysis = analyse([hostile])
    write(tmp_path, "quick", analysis, ARMS, ["A remark."], "esper bench growth --output x")
    page, text = (tmp_path / PAGE).read_text(), (tmp_path / MARKDOWN).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "A remark." in page
    assert "| heuristic |" in text
    assert text.count("### ") == 3
    data = json.loads((tmp_path / DATA).read_text())
    assert data["tasks"][0]["cells"][GROWN]["0"]["failure"].startswith("<script>")
    assert data["comparisons"][0]["gain"]["pairs"] == 8


def test_nothing_measured_is_a_state_as_well(tmp_path):
    analysis = analyse([evolve(measured({}), cells={arm.name: {} for arm in ARMS}, tuning={})])
    assert analysis.comparisons == ()
    write(tmp_path, "quick", analysis, ARMS, [], "esper bench growth")
    assert "24 runs are missing" in (tmp_path / MARKDOWN).read_text()
