"""Blueprints over several runs: counted by hand."""

from math import sqrt

import pytest
from attrs import evolve

from esper_core.leyline.stages import Stage
from esper_runs.blueprint_analytics import blueprint_figures, blueprint_table
from esper_runs.run_directory import RunDirectory
from esper_runs.run_record import read_run_record


def seed(blueprint: str, stage: str, ablation: float | None = None, **more):
    facts = {"host": "grown", "slot": "a", "seed_id": "a-0", "parameters": 100, "germinated_epoch": 2}
    facts |= {"ended_epoch": 6 if stage in ("FOSSILIZED", "CULLED") else None, "blueprint": blueprint}
    facts |= {"final_stage": stage, "ablation": None if ablation is None else {"mean": ablation}}
    return facts | more


@pytest.fixture
def record(make_run):
    path = make_run().short_life().write()
    return read_run_record(RunDirectory(path))


def figures(record, *runs):
    return {it.blueprint: it for it in blueprint_figures(evolve(record, seeds=seeds) for seeds in runs)}


def test_seeds_are_counted_over_all_runs(record):
    one = (seed("mlp", "FOSSILIZED", 0.3), seed("mlp", "CULLED", 0.1, ended_epoch=4), seed("lora", "CULLED"))
    two = (seed("mlp", "FOSSILIZED", 0.2, parameters=400), seed("mlp", "BLENDING"))
    mlp = figures(record, one, two)["mlp"]
    assert (mlp.runs, mlp.germinated, mlp.fossilized, mlp.culled, mlp.live) == (2, 4, 2, 1, 1)
    assert mlp.survival == pytest.approx(2 / 3)
    assert mlp.contribution == pytest.approx(0.2)
    assert mlp.contribution_error == pytest.approx(0.1 / sqrt(3))
    assert mlp.parameters == 175
    assert mlp.epochs == pytest.approx(10 / 3)


def test_what_nothing_is_known_of_is_missing(record):
    lora = figures(record, (seed("lora", "TRAINING", float("nan"), parameters="NaN"),))["lora"]
    assert (lora.survival, lora.contribution, lora.parameters, lora.epochs) == (None, None, None, None)
    assert lora.measured == 0
    assert blueprint_table([lora]).texts[0][6:8] == ("-", "-")


def test_one_seed_has_no_standard_error(record):
    it = figures(record, (seed("lora", "FOSSILIZED", 0.5),))["lora"]
    assert (it.contribution, it.contribution_error) == (0.5, None)


def test_blueprints_that_never_germinated_are_listed(record):
    assert figures(record, ())["conv-light"].germinated == 0


def test_live_stages_are_those_of_the_core(record):
    for stage in Stage:
        assert figures(record, (seed("x", stage.name),))["x"].live == stage.live
