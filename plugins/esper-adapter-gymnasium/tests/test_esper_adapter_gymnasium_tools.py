"""The programs beside the sources: what they count and compare, without the hours that they take."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from esper_adapter_gymnasium.model import GrowthModel
from esper_core.api import Op

TOOLS = Path(__file__).parent.parent / "tools"


def tool(name):
    if str(TOOLS) not in sys.path:
        sys.path.append(str(TOOLS))  # they import each other
    spec = importlib.util.spec_from_file_location(f"esper_tool_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_schedule_is_followed_as_soon_as_it_is_possible(tables):
    table = tables(slots=2, blueprints=2, epochs=20, seed=4)
    model = GrowthModel(table)
    # Fossilizing is asked for before any gate can have passed, and the cull of another slot has nothing to cull.
    schedule = ((2, "GERMINATE", 0, "a"), (3, "FOSSILIZE", 0, ""), (3, "GERMINATE", 1, "b"), (8, "CULL", 1, ""))
    _, actions = tool("schedules").followed([schedule], model)
    done = [(epoch, *model.actions[it]) for epoch, it in enumerate(actions[:, 0]) if it]
    assert done[:3] == [(2, Op.GERMINATE, 0, 1), (3, Op.GERMINATE, 1, 2), (8, Op.CULL, 1, 0)]
    assert [it[1:] for it in done[3:]] in ([], [(Op.FOSSILIZE, 0, 0)])


def test_ranks_are_correlated_as_scipy_does_it():
    random = np.random.default_rng(0)
    validate = tool("validate_table")
    for _ in range(5):
        first, second = random.integers(0, 6, 20).astype(float), random.normal(size=20)
        assert validate.spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert validate.spearman(np.ones(4), np.arange(4.0)) == 0.0


def test_the_ramp_that_made_the_runs_is_the_one_that_is_found(tables):
    """Real runs that are the surrogate itself with another ramp: nothing else predicts them without an error."""
    validate, table = tool("validate_table"), tables(slots=2, blueprints=2, epochs=20)
    plan = [((epoch, "GERMINATE", epoch % 2, "ab"[epoch % 2]),) for epoch in range(0, 18, 3)]
    wanted = next(it for it in validate.ramps() if len(it) == 9 and it[-1] == 0.6)
    tried = [it for it in validate.ramps() if len(it) in (5, 9)]

    def compared(ramp):
        real, said = (validate.predictions(table, [0], plan, it) for it in (wanted, ramp))
        return [validate.Compared(kind=kind, real=real[i], predicted=said[i]) for i, kind in enumerate("la")]

    best = min(tried, key=lambda ramp: compared(ramp)[0].error(range(len(plan))))
    assert compared(best)[0].error(range(len(plan))) == pytest.approx(0.0)
    assert compared(wanted)[0].rank_correlation() == pytest.approx(1.0)


def test_rows_are_done_once_for_each_setting(tmp_path):
    proofs, out = tool("proofs"), tmp_path / "rows.jsonl"
    made = []

    def do():
        made.append(1)
        return 2.5

    for setting in ({"steps": 1}, {"steps": 1}, {"steps": 2}):
        assert proofs.Rows(out=out, setting=setting).get("ppo", 0, do) == 2.5
    assert len(made) == 2


def test_a_summary_counts_what_reaches_the_bar(tmp_path):
    rows = tool("proofs").Rows(out=None, setting={})
    for policy, seed, achieved in (("oracle", 0, 2.0), ("never", 0, 1.0), ("ppo", 0, 1.95), ("ppo", 1, 1.5)):
        rows.get(policy, seed, lambda achieved=achieved: achieved)
    line = next(it for it in tool("proofs").summary(rows) if it.startswith("| ppo"))
    assert [it.strip() for it in line.split("|")[2:8]] == ["2", "1.725", "0.72", "0.50", "0.72", "1"]
