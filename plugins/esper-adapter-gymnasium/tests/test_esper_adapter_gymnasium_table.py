"""The surrogate, its rewards, observations and oracle, against slow and obvious references."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from esper_adapter_gymnasium.features import Features
from esper_adapter_gymnasium.host_record import HostRecord
from esper_adapter_gymnasium.lifecycle import LocalState
from esper_adapter_gymnasium.model import GrowthModel
from esper_adapter_gymnasium.oracle import play, solve
from esper_adapter_gymnasium.records import Records
from esper_adapter_gymnasium.rewards import OPTIONS, TableRewards
from esper_adapter_gymnasium.table_env import GrowthTableEnv, GrowthTableVectorEnv
from esper_core.api import Decision, Op, Stage
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.resolve import build_config, resolve
from esper_core.simic.rewards import WeightedTerm, reward
from esper_core.specs import RewardTermSpec
from esper_rewards_standard.presets import PRESETS, preset

ID = "esper_adapter_gymnasium:esper/GrowthTable-v0"


def real_terms(chosen):
    """The plugin's own terms, as a run has them."""
    registry, built = load_plugins().registry, []
    for term in chosen:
        found = registry.get(RewardTermSpec.kind, term["name"])
        options = {key: value for key, value in term.items() if key not in ("name", "weight")}
        config = build_config(found, options, path="rewards")
        spec = found.spec
        built.append(
            WeightedTerm(
                name=spec.name, term=resolve(found)(config), weight=term["weight"], low=spec.low, high=spec.high
            )
        )
    return built


def episode(env, random, check):
    """Play at random, rarely waiting for nothing, and call `check` with everything about each step."""
    records = Records(env.model)
    host = HostRecord(name="h", records=records)
    observed, info = env.reset()
    for _ in range(env.model.epochs):
        local, before, possible = env.local, env.measured, env.possible[0]
        situation = host.situation(local[0], before, 0, possible)
        # Seldom cull, or nothing would ever grow old.
        weights = np.array([{Op.CULL: 0.05, Op.WAIT: 2.0}.get(op, 1.0) for op, _, _ in env.model.actions]) * possible
        action = int(random.choice(len(weights), p=weights / weights.sum()))
        seen = observed
        observed, _, _, _, info = env.step([action])
        told = info.get("final_info", info)
        # The environment has begun again after the last epoch.
        after, _ = env.model.advance(host.epoch, local, np.array([action]), before)
        measured = env.model.measure(host.epoch, after)
        decision = Decision(actions=[records.action(action)])
        step = host.step(situation, decision, after[0], measured, 0, env.rewards.gamma)
        check(situation, seen[0], step, told["reward_terms"])


@pytest.mark.parametrize("name", PRESETS)
def test_rewards_are_those_of_the_real_terms(tables, name):
    terms, random, seen = real_terms(preset(name)), np.random.default_rng(1), set()

    def check(situation, observed, step, told):
        expected = reward(terms, step).terms
        assert told.keys() == expected.keys()
        for term, value in expected.items():
            assert told[term][0] == pytest.approx(value, abs=1e-9), (term, step.epoch)
            if value:
                seen.add(term)

    for seed in range(3):
        env = GrowthTableVectorEnv(1, table=tables(epochs=20, seed=seed), terms=preset(name), gamma=0.97)
        for _ in range(6):
            episode(env, random, check)
    assert seen == set(PRESETS[name])


def test_observations_are_those_of_the_schema(tables):
    random, seen = np.random.default_rng(2), []

    def check(situation, observed, step, told):
        host, slots = env.features.schema.vector(situation.observation)
        expected = np.concatenate([host, *slots])
        seen.append(expected)
        assert observed == pytest.approx(expected, abs=1e-6)

    for seed in range(2):
        env = GrowthTableVectorEnv(1, table=tables(epochs=20, seed=seed))
        for _ in range(4):
            episode(env, random, check)
    assert (np.ptp(seen, axis=0) > 0).sum() > 80


def brute_force(rewards, epoch, local, before):
    """The best return by trying every schedule."""
    model = rewards.model
    if epoch == model.epochs:
        return 0.0
    returns = []
    for action in np.flatnonzero(model.masks(local, before)[0]):
        chosen = np.array([action])
        after, culled = model.advance(epoch, local, chosen, before)
        measured = model.measure(epoch, after)
        parts = rewards.total(
            rewards.before(epoch, local, before),
            rewards.asked(epoch, local, before, chosen, culled, measured.gain),
            rewards.after(epoch, after, measured),
        )
        now = float(sum(np.ravel(it)[0] for it in parts.values()))
        returns.append(now + rewards.gamma * brute_force(rewards, epoch + 1, after, measured))
    return max(returns)


@pytest.mark.parametrize("name", ["shaped", "loss"])
@pytest.mark.parametrize("seed", range(2))
def test_the_oracle_is_the_best_of_all_schedules(tables, name, seed):
    model = GrowthModel(tables(slots=2, blueprints=2, epochs=5, seed=seed), ramp=(0.0, 0.0, 0.5, 1.0))
    rewards = TableRewards(model, preset(name), 0.9)
    oracle = solve(rewards)
    bare = np.zeros((1, 2), dtype=np.int64)
    assert oracle.best_return == pytest.approx(brute_force(rewards, 0, bare, None), abs=1e-9)
    achieved, _, _ = play(rewards, lambda epoch, local, before, masks: int(oracle.best_action(epoch, local, before)[0]))
    assert oracle.regret(achieved) == pytest.approx(0.0, abs=1e-9)


def test_the_oracle_waits_for_fossils_where_they_pay(tables):
    """A longer episode, in which seeds can become fossils: no schedule drawn at random is better."""
    model = GrowthModel(tables(slots=2, epochs=14))
    rewards = TableRewards(model, preset("shaped"))
    oracle, random = solve(rewards), np.random.default_rng(0)
    best, actions, _ = play(rewards, lambda e, local, before, masks: int(oracle.best_action(e, local, before)[0]))
    assert best == pytest.approx(oracle.best_return, abs=1e-9)
    assert Op.FOSSILIZE in {model.actions[action][0] for action in actions}
    for _ in range(40):
        some, _, _ = play(rewards, lambda e, local, before, masks: int(random.choice(np.flatnonzero(masks[0]))))
        assert some <= best + 1e-9


@pytest.mark.parametrize("actions", ["flat", "factored"])
def test_gymnasium_accepts_it(table, actions):
    env = gym.make(ID, table=table, actions=actions)
    check_env(env.unwrapped, skip_render_check=True)


def test_it_is_a_vector_environment_too(table):
    env = gym.make_vec(ID, num_envs=3, table=table)
    assert env.metadata["autoreset_mode"] is gym.vector.AutoresetMode.SAME_STEP
    first, info = env.reset(seed=1)
    assert first.shape == env.observation_space.shape
    assert info["action_mask"].shape == (3, 1 + 6 + 6)
    for epoch in range(table.epochs):
        observed, _, terminated, truncated, info = env.step(np.zeros(3, dtype=int))
        assert not truncated.any()
        assert terminated.all() == (epoch == table.epochs - 1)
    assert (observed == first).all()
    assert (info["final_obs"] != first).any()


def test_what_is_impossible_in_a_factored_space_is_counted_and_waits(table):
    env = GrowthTableEnv(table=table, actions="factored")
    env.reset()
    _, reward_, _, _, info = env.step([Op.FOSSILIZE, 0, 0])
    assert info["invalid_action"]
    assert info["invalid_actions"] == 1
    other = GrowthTableEnv(table=table)
    other.reset()
    assert other.step(0)[1] == reward_


def test_features_fill_the_space(table):
    model = GrowthModel(table)
    assert Features(model).size == GrowthTableEnv(table=table).observation_space.shape[0]


def test_a_table_survives_its_file(table, tmp_path):
    table.write(tmp_path / "t.npz")
    env = GrowthTableEnv(table=str(tmp_path / "t.npz"))
    assert env.vector.model.table.loss == pytest.approx(table.loss, abs=1e-6)
    assert env.vector.model.table.blueprints == table.blueprints


def test_with_triples_missing_no_third_seed_is_germinated(table):
    counts = np.array([sum(map(bool, table.topology(number))) for number in range(table.loss.shape[1])])
    table.loss[:, counts == 3] = np.nan
    env = GrowthTableVectorEnv(1, table=table)
    env.reset()
    env.step([1])
    env.step([env.model.actions.index((Op.GERMINATE, 1, 1))])
    germinations = [op is Op.GERMINATE for op, _, _ in env.model.actions]
    assert not env.possible[0][germinations].any()


def test_durations_and_margins_are_the_defaults_of_a_run():
    from esper_adapter_gymnasium import lifecycle, model
    from esper_core.kasmina.config import LifecycleConfig
    from esper_gates_standard.config import G1Config, G2Config, G3Config, G5Config

    durations, g3, g5 = LifecycleConfig(), G3Config(), G5Config()
    ramp = durations.ramp_epochs
    assert ramp == lifecycle.RAMP_EPOCHS
    assert durations.incubation_epochs == G2Config().min_dwell_epochs == G2Config().consecutive_passes == 1
    assert ramp - 1 + g3.consecutive_passes == lifecycle.BLENDING_EPOCHS
    # The last epochs of blending count as settled; G5 passes first in the last of them that are needed.
    settled_in_blending = lifecycle.BLENDING_EPOCHS - ramp
    first_pass = g5.min_settled_epochs - settled_in_blending
    assert first_pass + g5.consecutive_passes - 1 == lifecycle.FIRST_FOSSIL_EPOCH
    assert ramp + durations.blending_timeout_epochs == lifecycle.BLENDING_TIMEOUT
    assert durations.probation_timeout_epochs == lifecycle.PROBATION_TIMEOUT
    assert sum(stage is Stage.EMBARGOED for stage, _ in lifecycle._REST) == durations.embargo_epochs
    assert G1Config().min_host_epochs == 1
    assert model.HARM_MARGIN == g3.margin_nats == g5.harm_margin_nats
    assert (g5.min_contribution_nats, g5.twin_margin_nats) == (model.LEAST_CONTRIBUTION, model.TWIN_MARGIN)
    assert g3.confidence == g5.sign_confidence == g5.harm_confidence == 0.99
    assert g5.threshold_confidence == 0.95


def test_the_options_of_terms_are_the_plugins():
    import attrs

    registry = load_plugins().registry
    for name, options in OPTIONS.items():
        found = registry.get(RewardTermSpec.kind, name)
        config = build_config(found, {}, path="rewards")
        assert dict(options) == ({} if config is None else attrs.asdict(config))


def test_a_life_without_failures(tables):
    """Which stage a slot is in before each epoch, with a seed of epoch 2 that is fossilized as soon as it may be."""
    model = GrowthModel(tables(slots=1, blueprints=1, epochs=20, seed=4))
    rewards, seen = TableRewards(model), []

    def choose(epoch, local, before, masks):
        seen.append(model.states.every[local[0, 0]].stage)
        return 1 if epoch == 2 else int(np.flatnonzero(masks[0])[-1]) if masks[0][-1] else 0

    play(rewards, choose)
    names = [stage.name for stage in seen]
    assert names[:3] == ["DORMANT"] * 3
    assert names[3:12] == ["TRAINING"] + ["BLENDING"] * 4 + ["PROBATIONARY"] * 3 + ["FOSSILIZED"]


def test_accuracies_have_a_ramp_of_their_own(tables):
    table = tables(slots=1, blueprints=1, epochs=12, seed=4)
    model = GrowthModel(table, ramp=(0.0, 0.0, 0.5), accuracy_ramp=(0.0, 0.0, 0.25))
    old = model.states.number[LocalState(stage=Stage.BLENDING, epochs=4, blueprint=1, age=2)]
    seen = model.measure(9, np.array([[0], [old]]))
    for values, found, share in ((table.loss, seen.loss, 0.5), (table.accuracy, seen.accuracy, 0.25)):
        bare, grown = values[0, :, 9]
        assert found == pytest.approx([bare, bare + share * (grown - bare)])
    with pytest.raises(ValueError, match="accuracy_ramp"):
        GrowthModel(table, ramp=(0.0, 1.0), accuracy_ramp=(0.0, 0.5, 1.0))


def test_what_is_culled_takes_its_curve_with_it_and_its_slot_rests(tables):
    model = GrowthModel(tables(slots=1, blueprints=1, epochs=20, seed=4))
    rewards, seen, losses = TableRewards(model), [], []

    def choose(epoch, local, before, masks):
        seen.append(model.states.every[local[0, 0]].stage)
        losses.append(np.nan if before is None else float(before.loss[0]))
        return {2: 1, 9: 2}.get(epoch, 0)

    play(rewards, choose)
    assert [stage.name for stage in seen[10:16]] == ["CULLED", *["EMBARGOED"] * 3, "RESETTING", "DORMANT"]
    assert losses[9] != pytest.approx(float(model.table.loss[0, 0, 8]))
    assert losses[10] == pytest.approx(float(model.table.loss[0, 0, 9]))
