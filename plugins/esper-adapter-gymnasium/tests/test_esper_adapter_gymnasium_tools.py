"""The programs beside the sources: what they count and compare, without the hours that they take."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attrs import evolve
from scipy.stats import spearmanr

from esper_adapter_gymnasium.model import GrowthModel
from esper_adapter_gymnasium.table import GrowthTable
from esper_app.api import load_plugins
from esper_core.api import Op
from esper_policy_ppo.config import PPOConfig

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


def test_seeds_that_are_measured_late_live_as_in_a_run():
    late = tool("late_seeds")
    assert [late.alpha_at(now, 6) for now in (5.9, 6, 6.9, 7, 8.5, 10, 15)] == [0.0, None, None, 0.0, 0.5, 1.0, 1.0]
    # A seed that is germinated before there has been an epoch waits for one.
    assert [late.alpha_at(now, 0) for now in (0, 0.9, 1, 2, 5)] == [0.0, 0.0, None, 0.0, 1.0]
    assert late.alpha_at(0, late.ALWAYS) == 1.0


def test_a_seed_in_straight_through_training_learns_and_leaves_the_host_alone():
    late = tool("late_seeds")
    images, targets = late.digits_splits().validation.inputs[:16], late.digits_splits().validation.targets[:16]

    def gradients(alpha):
        networks = late.LateNetworks([(4, 0, 6)], 0)
        for parameter in networks.seeds[0, 4].values():
            parameter.data += 0.1
        networks.alpha = alpha
        losses = late.losses_of(networks.logits(late.patches_of(images)), targets)
        losses.sum().backward()
        return losses, networks.host["blocks.0.conv.weight"].grad, networks.seeds[0, 4]["gain.gain"].grad

    bare, training, blended = gradients(0.0), gradients(None), gradients(1.0)
    assert torch.allclose(bare[0], training[0])
    assert not torch.allclose(bare[0], blended[0])
    assert torch.allclose(bare[1], training[1], atol=1e-6)
    assert bare[2] is None
    assert training[2].abs().max() > 0


def test_a_share_is_that_of_least_squares_and_a_ramp_never_falls():
    late = tool("late_seeds")
    full, real = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.8, 2.4])
    found = late.Share.of(np.stack([full, real], axis=1))
    assert found.share == pytest.approx(np.linalg.lstsq(full[:, None], real, rcond=None)[0][0])
    assert found.errors[0] < min(found.errors[1:])
    assert found.errors[2] == pytest.approx(np.sqrt(np.mean(real**2)))
    shares = {3: -0.2, 5: 0.4, 6: 0.3, 8: 0.6, 9: 0.8}
    made = late.ramp({age: late.Share(it, (0.0, 0.0, 0.0), 1) for age, it in shares.items()}, 8)
    assert made == (0.0, 0.0, 0.0, 0.0, 0.1, 0.4, 0.4, 0.5, 0.7)


def test_rows_are_done_once_for_each_setting(tmp_path):
    proofs, out = tool("proofs"), tmp_path / "rows.jsonl"
    made = []

    def do():
        made.append(1)
        return 2.5

    for setting in ({"steps": 1}, {"steps": 1}, {"steps": 2}):
        assert proofs.Rows(out=out, setting=setting).get("ppo", 0, do) == 2.5
    assert len(made) == 2


@pytest.mark.slow
def test_policies_are_compared_on_real_networks_beside_their_twins(tmp_path):
    on_digits, plugins, table = tool("on_digits"), load_plugins(), GrowthTable.read()
    found = {}
    given = SimpleNamespace(policy=None, finetuned=None)
    for name, settings in on_digits.policies(given, table, tmp_path):
        if name in ("periodic", "periodic, group-norm"):
            own = ["host.widths=[4, 4]", "epochs=4", *settings]
            found[name] = on_digits.grown(plugins, own, 11)
    one, other = found["periodic"], found["periodic, group-norm"]
    assert one["twin"] == other["twin"]
    without = on_digits.grown(plugins, own, 11, one["twin"])
    assert {**without, "seconds": 0} == {**other, "seconds": 0}
    assert one["twin"]["parameters"] < other["grown"]["parameters"] < one["grown"]["parameters"]
    assert one["twin"]["flops"] < other["grown"]["flops"]


def test_the_best_schedule_is_also_carried_out_in_the_last_slot_of_a_deeper_host(tmp_path):
    on_digits = tool("on_digits")
    on_digits.write_plans(tmp_path, GrowthTable.read(), 5)
    slots = {
        folder: {json.loads(it)["data"]["slot"] for it in (folder / "events.jsonl").read_text().splitlines()}
        for folder in (tmp_path, tmp_path / on_digits.LAST_SLOT)
    }
    assert list(slots.values()) == [{"block2"}, {"block4"}]


def test_another_agents_entropy_falls_to_a_share_of_what_it_was():
    falling = tool("sb3_agents").FallingEntropy(0.02, steps=100)
    falling.model = SimpleNamespace(ent_coef=0.01)
    falling._on_training_start()
    seen = []
    for falling.num_timesteps in (50, 100, 120):
        falling._on_rollout_end()
        seen.append(falling.model.ent_coef)
    assert seen == pytest.approx([0.0051, 0.0002, 0.0002])


def test_every_changed_option_is_one_of_ppo_with_another_value():
    proofs = tool("proofs")
    usual = PPOConfig(**proofs.PPO_OPTIONS)
    for changed in proofs.CHANGED.values():
        (name,) = changed
        assert getattr(evolve(usual, **changed), name) != getattr(usual, name)


def test_another_table_is_another_setting(tables):
    setting = tool("proofs").setting
    assert setting(tables(seed=1), "simplified", 10) == setting(tables(seed=1), "simplified", 10)
    assert setting(tables(seed=1), "simplified", 10) != setting(tables(seed=2), "simplified", 10)


def test_a_summary_counts_what_reaches_the_bar(tmp_path):
    rows = tool("proofs").Rows(out=None, setting={})
    for policy, seed, achieved in (("oracle", 0, 2.0), ("never", 0, 1.0), ("ppo", 0, 1.95), ("ppo", 1, 1.5)):
        rows.get(policy, seed, lambda achieved=achieved: achieved)
    line = next(it for it in tool("proofs").summary(rows) if it.startswith("| ppo"))
    assert [it.strip() for it in line.split("|")[2:8]] == ["2", "1.725", "0.72", "0.50", "0.72", "1"]
