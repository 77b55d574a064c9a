"""PPO, each detail that is easy to get wrong against a slow and obvious reference."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import exp, log, prod
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attrs import evolve, fields
from torch import Tensor

from esper_core.api import (
    Action,
    Blend,
    Catalogue,
    CatalogueEntry,
    Ended,
    EsperError,
    Layout,
    Op,
    PolicyState,
    Round,
    Situation,
    Trajectory,
)
from esper_policy_ppo.advantages import advantages, compared_by_head, explained_variance, normalised, v_trace
from esper_policy_ppo.anomalies import ValueWatch, anomalies
from esper_policy_ppo.choices import draw, entropy, gumbel, masked_log_softmax
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.inputs import HEADS, Encoder, Inputs
from esper_policy_ppo.moments import RunningMoments
from esper_policy_ppo.network import Judged, build_network
from esper_policy_ppo.policy import PPO
from esper_policy_ppo.rollout_buffer import Minibatch, RolloutBuffer
from esper_policy_ppo.update import (
    Targets,
    UpdateCount,
    by_head,
    divergence,
    evaluate,
    joint_log_ratio,
    lacking_entropy,
    mean_entropies,
    policy_loss,
    update,
    value_loss,
)
from esper_testing.situations import CATALOGUE, host_names, only_waiting, situations
from esper_testing.steps import trajectory

EPOCHS, HOSTS = 10, 3
SMALL: dict[str, Any] = {"hidden": 32, "slot_encoding": 16}

torch.set_num_threads(1)


def policy(**options: Any) -> PPO:
    return PPO(PPOConfig(**SMALL | options), CATALOGUE)


def round_of(ppo: PPO, number: int = 0, forget: dict[int, int] | None = None) -> list[Trajectory]:
    """Let a policy decide a round of made-up situations.

    The first host ends in the middle of the round. `forget`: the epoch after which a host's trajectory ends, because
    it was stopped, and another one begins.
    """
    forget = forget or {}
    ppo.reset(Round(number=number, hosts=host_names(HOSTS), epochs=EPOCHS))
    seen = [situations(CATALOGUE, HOSTS, epoch, EPOCHS, number) for epoch in range(EPOCHS + 1)]
    decisions = []
    for epoch, shown in enumerate(seen[:EPOCHS]):
        there = [host for host in range(HOSTS) if host or epoch < EPOCHS // 2]
        decided = dict(zip(there, ppo.decide([shown[host] for host in there]), strict=True))
        decisions.append(decided)
        for host in (host for host, last in forget.items() if last == epoch):
            ppo.forget(shown[host].host)
    made = []
    for host in range(HOSTS):
        last = EPOCHS if host else EPOCHS // 2
        cuts = [0, *([forget[host] + 1] if host in forget else []), last]
        for first, end in pairwise(cuts):
            shown, answers = [seen[e][host] for e in range(first, end)], [decisions[e][host] for e in range(first, end)]
            it = trajectory(shown, answers, seen[end][host], number=number, seed=host)
            steps = [evolve(step, epoch=first + index, epochs=EPOCHS) for index, step in enumerate(it.steps)]
            ended = Ended.TERMINATED if end != last else Ended.TRUNCATED
            made.append(evolve(it, steps=(*steps[:-1], evolve(steps[-1], ended=ended))))
    return made


def buffer_of(ppo: PPO, made: Sequence[Trajectory]) -> RolloutBuffer:
    buffer = RolloutBuffer.of(made, ppo.encoder, ppo.config.hidden)
    ppo.value_what_was_cut_short(buffer, made)
    return buffer


# Advantages


def obvious(
    rewards: Tensor, values: Tensor, ends: Tensor, final_values: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """Every advantage as the sum that it is, trajectory by trajectory."""
    found = torch.zeros_like(rewards)
    for column in range(rewards.shape[1]):
        first = 0
        for last in [row for row in range(len(rewards)) if ends[row, column]]:
            own = values[first : last + 1, column].tolist()
            following = [*own[1:], float(final_values[last, column])]
            paid = rewards[first : last + 1, column].tolist()
            surprises = [r + gamma * n - v for r, n, v in zip(paid, following, own, strict=True)]
            for row in range(first, last + 1):
                ahead = surprises[row - first :]
                found[row, column] = sum((gamma * gae_lambda) ** k * it for k, it in enumerate(ahead))
            first = last + 1
    return found


def drawn_columns(length: int = 20, columns: int = 5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ends = torch.rand(length, columns, generator=generator) < 0.2
    ends[-1] = True
    rewards, values, final = torch.randn(3, length, columns, generator=generator)
    over = torch.rand(length, columns, generator=generator) < 0.5
    return {"rewards": rewards, "values": values, "ends": ends, "final_values": torch.where(over, 0.0, final)}


def merges_cut_short_and_over(**drawn: Any) -> Tensor:
    return advantages(**drawn | {"final_values": torch.zeros_like(drawn["rewards"])})


def bootstraps_from_the_next_trajectory(**drawn: Any) -> Tensor:
    values = drawn["values"]
    following = torch.cat([values[1:], torch.zeros_like(values[:1])])
    return advantages(**drawn | {"final_values": following})


def flows_back_over_ends(**drawn: Any) -> Tensor:
    ends = torch.zeros_like(drawn["ends"])
    ends[-1] = True
    return advantages(**drawn | {"ends": ends})


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0)])
def test_advantages_are_the_sums_of_what_surprises_in_the_same_trajectory(gamma: float, gae_lambda: float) -> None:
    drawn = drawn_columns()
    expected = obvious(**drawn, gamma=gamma, gae_lambda=gae_lambda)
    torch.testing.assert_close(advantages(**drawn, gamma=gamma, gae_lambda=gae_lambda), expected)
    for mutant in (merges_cut_short_and_over, bootstraps_from_the_next_trajectory, flows_back_over_ends):
        assert not torch.allclose(mutant(**drawn, gamma=gamma, gae_lambda=gae_lambda), expected), mutant.__name__


def obvious_v_trace(
    columns: dict[str, Tensor], log_ratios: Tensor, gamma: float, clip_rho: float, clip_c: float
) -> tuple[Tensor, Tensor]:
    """Equation 1 of IMPALA as the sums and products that it is, trajectory by trajectory."""
    rewards, values, ends, final = (columns[it] for it in ("rewards", "values", "ends", "final_values"))
    corrected, gains = torch.zeros_like(values), torch.zeros_like(values)
    for column in range(rewards.shape[1]):
        first = 0
        for last in [row for row in range(len(rewards)) if ends[row, column]]:
            span = range(first, last + 1)
            rho = {row: min(clip_rho, float(log_ratios[row, column].exp())) for row in span}
            c = {row: min(clip_c, float(log_ratios[row, column].exp())) for row in span}
            v = {row: float(values[row, column]) for row in span} | {last + 1: float(final[last, column])}
            surprise = {t: rho[t] * (float(rewards[t, column]) + gamma * v[t + 1] - v[t]) for t in span}
            vs = {last + 1: v[last + 1]}
            for s in span:
                ahead = [gamma ** (t - s) * prod(c[i] for i in range(s, t)) * surprise[t] for t in range(s, last + 1)]
                vs[s] = v[s] + sum(ahead)
            for s in span:
                corrected[s, column] = vs[s]
                gains[s, column] = rho[s] * (float(rewards[s, column]) + gamma * vs[s + 1] - v[s])
            first = last + 1
    return corrected, gains


@pytest.mark.parametrize(("gamma", "clip_rho", "clip_c"), [(0.99, 1.0, 1.0), (1.0, 2.0, 0.7), (0.9, 0.5, 1.5)])
def test_v_trace_stays_in_its_trajectory_and_values_what_was_cut_short(
    gamma: float, clip_rho: float, clip_c: float
) -> None:
    columns = drawn_columns()
    log_ratios = torch.randn(columns["rewards"].shape, generator=torch.Generator().manual_seed(2))
    found = v_trace(**columns, log_ratios=log_ratios, gamma=gamma, clip_rho=clip_rho, clip_c=clip_c)
    values, gains = obvious_v_trace(columns, log_ratios, gamma, clip_rho, clip_c)
    torch.testing.assert_close(found.values, values)
    torch.testing.assert_close(found.advantages, gains)


def test_v_trace_of_the_policy_that_acted_is_the_return_and_nothing_of_the_next_trajectory() -> None:
    columns = drawn_columns()
    zeros = torch.zeros_like(columns["rewards"])
    found = v_trace(**columns, log_ratios=zeros, gamma=0.95)
    returns = columns["values"] + advantages(**columns, gamma=0.95, gae_lambda=1.0)
    torch.testing.assert_close(found.values, returns)
    # A truncation in the middle: what comes after it in the column must make no difference before it.
    row = int(columns["ends"][:-1, 0].nonzero()[0])
    changed = {name: it.clone() for name, it in columns.items()}
    changed["values"][row + 1 :, 0] += 100.0
    other = v_trace(**changed, log_ratios=zeros, gamma=0.95)
    assert torch.equal(found.values[: row + 1, 0], other.values[: row + 1, 0])
    changed["final_values"][row, 0] += 1.0
    assert not torch.equal(found.values[row, 0], v_trace(**changed, log_ratios=zeros, gamma=0.95).values[row, 0])


def test_advantages_are_normalised_once_over_the_steps_that_there_are() -> None:
    found, valid = torch.tensor([[1.0, 5.0], [3.0, 99.0]]), torch.tensor([[True, True], [True, False]])
    there = normalised(found, valid)[valid]
    assert there.mean().abs() < 1e-6
    assert there.std(correction=0) == pytest.approx(1.0)


def test_advantages_that_hardly_differ_are_not_blown_up() -> None:
    """Where all hosts do the same, what is left is the value's error: divided by its own spread it would be as loud."""
    signal, noise = torch.tensor([[0.6, -0.6]]), torch.tensor([[1e-4, -1e-4]])
    there = torch.ones(1, 2, dtype=torch.bool)
    assert torch.allclose(normalised(signal, there, 0.1), normalised(signal, there))
    assert normalised(noise, there, 0.1).abs().max() < 2e-3
    assert normalised(noise, there).abs().max() > 0.99


def test_heads_after_the_operation_are_judged_among_steps_of_that_operation() -> None:
    """Germinating costs more than waiting, and one blueprint less than another: that one is to become more probable."""
    wait, germinate, cull = int(Op.WAIT), int(Op.GERMINATE), int(Op.CULL)
    ops = torch.tensor([[wait, germinate, germinate], [wait, cull, germinate]])
    found = torch.tensor([[1.0, -1.0, -3.0], [3.0, -2.0, 99.0]])
    where = torch.tensor([[True, True, True], [True, True, False]])
    judged = compared_by_head(found, ops, where)
    assert torch.equal(judged[..., 0], found)
    for head in (1, 2, 3):
        assert judged[..., head][where].tolist() == [-1.0, 1.0, -1.0, 1.0, -2.0]


def test_learning_judges_every_head_by_its_own_advantage(monkeypatch: pytest.MonkeyPatch) -> None:
    ppo = policy(wait_bias=0.0)
    seen: list[Targets] = []

    def noted(network: Any, optimizer: Any, buffer: Any, targets: Targets, *rest: Any, **more: Any) -> UpdateCount:
        seen.append(targets)
        return UpdateCount()

    made = next(it for it in (round_of(ppo, number) for number in range(20)) if germinations(buffer_of(ppo, it)) > 1)
    buffer = buffer_of(ppo, made)
    monkeypatch.setattr("esper_policy_ppo.policy.update", noted)
    ppo.learn(made)
    found, alike = seen[0].advantages, (buffer.chosen[..., 0] == Op.GERMINATE) & buffer.choosable
    assert found[..., 0][buffer.choosable].mean().abs() < 1e-6
    for head in (1, 2, 3):
        assert found[..., head][alike].mean().abs() < 1e-6
        assert not torch.equal(found[..., head], found[..., 0])


def germinations(buffer: RolloutBuffer) -> int:
    return int(((buffer.chosen[..., 0] == Op.GERMINATE) & buffer.choosable).sum())


def test_a_policy_that_has_not_learned_mostly_waits_and_so_seeds_live() -> None:
    def waiting(**options: Any) -> float:
        ppo = policy(**options)
        ppo.reset(Round(hosts=host_names(8), epochs=20))
        return sum(next(it.probability for it in found if it.action.op is Op.WAIT) for found in explained(ppo)) / 8

    def explained(ppo: PPO) -> list[Any]:
        return [ppo.explain(it).choices for it in situations(CATALOGUE, 8, 5, 20, 3)]

    assert waiting(wait_bias=3.0) > 0.8
    assert waiting(wait_bias=0.0) < 0.6


def test_the_learning_rate_goes_from_the_first_to_the_last() -> None:
    ppo = policy(rounds=2, learning_rate=4e-3, final_learning_rate=1e-3)
    found = [ppo.learn(round_of(ppo, number))["learning rate"] for number in range(3)]
    assert found == pytest.approx([4e-3, 2.5e-3, 1e-3])
    assert ppo.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)


def test_a_policy_that_is_trained_further_begins_anew_with_what_changes_over_rounds() -> None:
    def rates(ppo: PPO, rounds: range) -> list[float]:
        return [ppo.learn(round_of(ppo, number))["learning rate"] for number in rounds]

    def saved(ppo: PPO) -> PPO:
        again = policy(rounds=2, learning_rate=4e-3, final_learning_rate=1e-3)
        again.restore(ppo.state())
        return again

    first = policy(rounds=2, learning_rate=4e-3, final_learning_rate=1e-3)
    assert rates(first, range(3)) == pytest.approx([4e-3, 2.5e-3, 1e-3])
    further = saved(first)
    assert rates(further, range(1)) == pytest.approx([4e-3])
    # What goes on after a stop, and what learns without hosts of its own, goes on where it was.
    on = saved(further)
    on.reset(Round(number=0, hosts=(), epochs=4))
    assert rates(on, range(1, 3)) == pytest.approx([2.5e-3, 1e-3])
    old = further.state()
    old.record.pop("learned_rounds")
    further.restore(old)
    assert rates(further, range(1, 2)) == pytest.approx([1e-3])


def test_what_was_cut_short_is_valued_by_its_final_observation_and_what_is_over_by_nothing() -> None:
    ppo = policy()
    made = round_of(ppo)
    # The first host's trajectory ends before the round does; what the policy would have thought next is its value.
    cut, over = made[0], made[1]
    assert (cut.steps[-1].terminal, over.steps[-1].terminal) == (False, True)
    (expected,) = (it.memo["value"] for it in ppo.decide([cut.final]))
    buffer = buffer_of(ppo, made)
    last = len(cut.steps) - 1
    assert float(buffer.final_values[last, 0]) == pytest.approx(expected, abs=1e-5)
    assert abs(expected) > 1e-4
    assert buffer.final_values[:, 1:].abs().sum() == buffer.final_values[:last, 0].abs().sum() == 0.0

    stopped = [evolve(cut, steps=(*cut.steps[:-1], evolve(cut.steps[-1], ended=Ended.TERMINATED))), *made[1:]]
    assert buffer_of(ppo, stopped).final_values.abs().sum() == 0.0


# Masks and choices


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_million_draws_with_one_choice_left_give_that_one(kind: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    choices, draws = 8, 1_000_000
    logits = (30.0 * torch.randn(draws, choices, generator=generator)).to(kind)
    only = torch.randint(choices, (draws,), generator=generator)
    mask = torch.nn.functional.one_hot(only, choices).bool()
    log_probs = masked_log_softmax(logits, mask)
    assert torch.equal(draw(log_probs, gumbel(torch.rand(draws, choices, generator=generator))), only)
    assert torch.equal(draw(log_probs, gumbel(torch.zeros(draws, choices))), only), "numbers at the edge"
    assert torch.equal(draw(log_probs, None), only)
    assert not entropy(log_probs).any()
    assert not log_probs.gather(-1, only[:, None]).any()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_draws_are_as_likely_as_they_should_be_and_never_impossible(kind: torch.dtype) -> None:
    mask = torch.tensor([True, False, True, True])
    log_probs = masked_log_softmax(torch.tensor([1.0, 50.0, 0.0, -1.0], dtype=kind), mask).expand(200_000, 4)
    noise = gumbel(torch.rand(200_000, 4, generator=torch.Generator().manual_seed(3)))
    found = draw(log_probs, noise).bincount(minlength=4)
    torch.testing.assert_close(found / 200_000, log_probs[0].exp(), atol=4e-3, rtol=0.0)
    assert found[1] == 0


def test_the_entropy_is_a_share_of_what_was_possible_and_has_a_gradient() -> None:
    logits = torch.zeros(4, 5, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    found = entropy(masked_log_softmax(logits, mask))
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 0.0, 1.0]))
    found.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    unlike = entropy(masked_log_softmax(torch.tensor([[0.0, log(3.0)]]), torch.ones(1, 2, dtype=torch.bool)))
    assert float(unlike) == pytest.approx(-(0.25 * log(0.25) + 0.75 * log(0.75)) / log(2.0))


def test_the_masks_of_the_heads_follow_from_what_was_chosen_before() -> None:
    ppo = policy()
    for epoch in range(60):
        shown = situations(CATALOGUE, HOSTS, epoch, 60, 5)
        inputs = ppo.encoder.inputs(shown)
        for row, situation in enumerate(shown):
            masks = situation.masks
            for place, slot in enumerate(masks.slots):
                for index, op in enumerate(Op):
                    assert bool(inputs.slot[row, index, place]) is (slot in masks.slots_for(op))
                fitting = [name in masks.blueprints_for(slot) for name in CATALOGUE.names]
                assert inputs.blueprint[row, place].tolist() == fitting
            assert inputs.op[row].tolist() == [op in masks.ops() for op in Op]
            assert inputs.blend[row].tolist() == [blend in masks.blends for blend in Blend]
            assert not inputs.present[row, len(masks.slots) :].any()


def test_an_action_and_its_choices_are_the_same_thing() -> None:
    encoder, ppo = Encoder(CATALOGUE), policy()
    ppo.reset(Round(hosts=host_names(HOSTS), epochs=40))
    ops = set()
    for epoch in range(40):
        shown = situations(CATALOGUE, HOSTS, epoch, 40, 6)
        for situation, decision in zip(shown, ppo.decide(shown), strict=True):
            (action,) = decision.actions
            again = encoder.action(encoder.chosen(action, situation.masks), situation.masks)
            named = (action.op, action.slot, action.blueprint, action.blend)
            assert (again.op, again.slot, again.blueprint, again.blend) == named
            ops.add(action.op)
    assert ops == set(Op)


# Rollout and update agree


def log_ratios(ppo: PPO, buffer: RolloutBuffer, chunk: int | None, order: Sequence[int] | None, parts: int) -> Tensor:
    spans = buffer.sequences(chunk)
    indices = torch.tensor(list(order) if order is not None else list(range(len(spans))))
    found = []
    for part in indices.tensor_split(min(parts, len(spans))):
        batch = Minibatch.of(buffer, [spans[index] for index in part.tolist()])
        with torch.no_grad():
            ratio = joint_log_ratio(evaluate(ppo.network, buffer, batch), batch.take(buffer.log_probs))
        found.append(ratio[batch.valid])
    return torch.cat(found)


@pytest.mark.parametrize("chunk", [None, 1, 5])
def test_before_the_first_step_the_ratio_is_one_in_every_order_of_minibatches(chunk: int | None) -> None:
    ppo = policy()
    for number in range(3):  # Later rounds: after updates, and with the moments that these left.
        made = round_of(ppo, number, forget={2: 4})
        buffer = buffer_of(ppo, made)
        spans = len(buffer.sequences(chunk))
        for seed, parts in enumerate((1, 2, spans)):
            order = torch.randperm(spans, generator=torch.Generator().manual_seed(seed)).tolist()
            found = log_ratios(ppo, buffer, chunk, order, parts)
            assert len(found) == buffer.steps
            assert (found.exp() - 1.0).abs().max() <= 1e-5
        ppo.learn(made)


@pytest.mark.parametrize("mutant", ["masks", "hidden", "moments"])
def test_another_mask_memory_or_normalisation_in_the_update_shows_in_the_ratio(mutant: str) -> None:
    ppo = policy()
    ppo.learn(round_of(ppo, 0))
    buffer = buffer_of(ppo, round_of(ppo, 1))
    if mutant == "masks":
        buffer = evolve(buffer, inputs=evolve(buffer.inputs, op=torch.ones_like(buffer.inputs.op)))
    if mutant == "hidden":
        buffer = evolve(buffer, hidden=torch.zeros_like(buffer.hidden))
    if mutant == "moments":
        ppo.network.host_moments.update(buffer.inputs.host[buffer.valid])
    assert log_ratios(ppo, buffer, 5, None, 1).abs().max() > 1e-4


def test_one_call_of_the_lstm_equals_the_unroll_with_resets() -> None:
    ppo = policy()
    ppo.learn(round_of(ppo, 0))
    buffer = buffer_of(ppo, round_of(ppo, 1, forget={1: 3, 2: 6}))
    unrolled = unroll(ppo, buffer)
    for chunk in (None, 4):
        batch = Minibatch.of(buffer, buffer.sequences(chunk))
        with torch.no_grad():
            features, _, _ = ppo.network(buffer.inputs.map(batch.take), batch.hidden)
        found = torch.zeros_like(unrolled)
        found[batch.rows[batch.valid], batch.columns[batch.valid]] = features[batch.valid]
        torch.testing.assert_close(found[buffer.valid], unrolled[buffer.valid], atol=1e-6, rtol=1e-6)


@torch.no_grad()
def unroll(ppo: PPO, buffer: RolloutBuffer) -> Tensor:
    """Features (T, N, hidden), one epoch after the other, with zeros where a host is new."""
    h, c = ppo.network.start(buffer.valid.shape[1])
    rows = []
    for row in range(len(buffer.valid)):
        old = ~buffer.begins[row, :, None]
        inputs = buffer.inputs.map(lambda it, row=row: it[row][None])  # type: ignore[misc]
        features, _, (h, c) = ppo.network(inputs, (h * old, c * old))
        rows.append(features[0])
    return torch.stack(rows)


def test_a_stored_and_a_zero_state_give_different_losses() -> None:
    ppo = policy()
    buffer = buffer_of(ppo, round_of(ppo, 0))
    spans = [span for span in buffer.sequences(4) if span.first]
    losses = []
    for it in (buffer, evolve(buffer, hidden=torch.zeros_like(buffer.hidden))):
        batch = Minibatch.of(it, spans)
        targets = Targets(advantages=it.rewards[..., None], returns=it.rewards, values=it.values)
        losses.append(value_loss(evaluate(ppo.network, it, batch), batch, targets, ppo.config).item())
    assert abs(losses[0] - losses[1]) > 1e-6


def test_the_moments_of_observations_are_fixed_in_a_round_and_move_after_it() -> None:
    ppo = policy()
    before = ppo.network.host_moments.mean.clone()
    made = round_of(ppo, 0)
    assert torch.equal(ppo.network.host_moments.mean, before)
    ppo.learn(made)
    rows = buffer_of(ppo, made).inputs.host[buffer_of(ppo, made).valid]
    torch.testing.assert_close(ppo.network.host_moments.mean, rows.double().mean(0))
    assert float(ppo.network.slot_moments.count) > float(ppo.network.host_moments.count) == len(rows)


# The update


def targets_of(buffer: RolloutBuffer) -> Targets:
    gains = normalised(buffer.rewards, buffer.valid)[..., None]
    return Targets(advantages=gains, returns=buffer.rewards, values=buffer.values)


def updated(ppo: PPO, buffer: RolloutBuffer, targets: Targets | None = None, floor: float = 0.0) -> Any:
    generator = torch.Generator().manual_seed(0)
    at = targets or targets_of(buffer)
    given: dict[str, Any] = {"entropy_weight": 0.0, "entropy_floor": floor, "generator": generator}
    return update(ppo.network, ppo.optimizer, buffer, at, ppo.config, **given)


def optimizer_steps(ppo: PPO) -> int:
    return int(next(iter(ppo.optimizer.state.values()))["step"]) if ppo.optimizer.state else 0


def test_the_kl_stop_acts_before_the_step_that_is_too_far_and_counts_those_before() -> None:
    options = {"learning_rate": 0.02, "update_epochs": 6, "minibatches": 3}
    ppo, free = policy(target_kl=0.01, **options), policy(target_kl=None, **options)
    buffer = buffer_of(ppo, round_of(ppo))
    stopped, whole = updated(ppo, buffer), updated(free, buffer_of(free, round_of(free)))
    assert (whole.steps, whole.stopped) == (18, False) == (optimizer_steps(free), False)
    assert stopped.stopped
    assert 0 < stopped.steps == optimizer_steps(ppo) < 18
    assert divergence(log_ratios(free, buffer, None, None, 1), torch.ones(buffer.steps, dtype=torch.bool)) > 0.015


def test_a_loss_that_is_not_finite_changes_nothing_and_says_so() -> None:
    ppo = policy()
    buffer = buffer_of(ppo, round_of(ppo))
    before = [parameter.clone() for parameter in ppo.network.parameters()]
    count = updated(ppo, buffer, evolve(targets_of(buffer), returns=torch.full_like(buffer.rewards, torch.nan)))
    assert (count.steps, count.skipped) == (0, ppo.config.update_epochs * min(HOSTS, ppo.config.minibatches))
    assert all(torch.equal(one, two) for one, two in zip(before, ppo.network.parameters(), strict=True))


def test_a_round_whose_numbers_are_not_finite_is_an_anomaly() -> None:
    ppo = policy()
    made = round_of(ppo)
    with torch.no_grad():
        ppo.network.value_head[-1].weight.fill_(torch.inf)  # type: ignore[union-attr]
    assert ppo.learn(made)["anomaly: numbers not finite"] == 1.0


def test_heads_that_an_operation_does_not_use_take_no_part() -> None:
    ppo = policy()
    ppo.reset(Round(hosts=host_names(HOSTS), epochs=EPOCHS))
    shown = [[only_waiting(it) for it in situations(CATALOGUE, HOSTS, e, EPOCHS, 0)] for e in range(EPOCHS + 1)]
    decided = [ppo.decide(row) for row in shown[:-1]]
    made = [
        trajectory([r[h] for r in shown[:-1]], [r[h] for r in decided], shown[-1][h], number=0, seed=h)
        for h in range(HOSTS)
    ]
    buffer = buffer_of(ppo, made)
    batch = Minibatch.of(buffer, buffer.sequences(None))
    judged = evaluate(ppo.network, buffer, batch)
    assert not judged.log_probs.any()
    assert not judged.mattered.any()
    gains = buffer.rewards[..., None]
    loss = policy_loss(judged, joint_log_ratio(judged, buffer.log_probs), gains, batch.valid, ppo.config)
    assert loss.item() == mean_entropies(judged, batch.valid).abs().sum().item() == 0.0


def test_a_head_that_is_seldom_used_learns_as_much_from_a_step_as_others() -> None:
    ppo = policy(wait_bias=0.0)
    buffers = (buffer_of(ppo, round_of(ppo, number)) for number in range(20))
    buffer = next(it for it in buffers if (it.chosen[..., 0][it.valid] == Op.GERMINATE).any())
    batch = Minibatch.of(buffer, buffer.sequences(None))
    judged = evaluate(ppo.network, buffer, batch)
    used = judged.mattered & batch.valid[..., None]
    counts = used.sum((0, 1))
    assert 0 < counts[1] < counts[0]
    ones = torch.ones_like(batch.valid, dtype=torch.float32)
    log_ratio = joint_log_ratio(judged, batch.take(buffer.log_probs))
    loss = policy_loss(judged, log_ratio, ones[..., None], batch.valid, ppo.config)
    (gradient,) = torch.autograd.grad(loss, judged.log_probs, retain_graph=True)
    for head, count in enumerate(counts.tolist()):
        torch.testing.assert_close(gradient[..., head][used[..., head]], torch.full((count,), -1.0 / max(1, count)))
        assert not gradient[..., head][~used[..., head]].any()


def test_the_operation_is_held_at_its_floor_of_entropy() -> None:
    """Waiting gains in every step. Without a floor it becomes certain; with one it stays as uncertain as that."""
    found: dict[float, float] = {}
    for floor in (0.0, 0.5):
        ppo = policy(wait_bias=0.0, learning_rate=3e-3, target_kl=None, clip_ratio=0.9)
        buffer = buffer_of(ppo, round_of(ppo))
        waits = torch.where(buffer.chosen[..., :1] == Op.WAIT, 1.0, -1.0).expand(-1, -1, len(HEADS))
        for _ in range(10):
            updated(ppo, buffer, evolve(targets_of(buffer), advantages=waits), floor)
        with torch.no_grad():
            batch = Minibatch.of(buffer, buffer.sequences(None))
            found[floor] = float(mean_entropies(evaluate(ppo.network, buffer, batch), batch.valid)[0])
    assert found[0.0] < 0.1
    assert found[0.5] == pytest.approx(0.5, abs=0.05)


def test_the_floor_is_one_of_each_step_with_a_choice() -> None:
    """What is certain in one step is not made up for by what is open in another one."""
    spread = torch.tensor([0.1, 0.0, 0.0, 1.0, 0.0])[:, None, None].expand(-1, 1, len(HEADS))
    mattered = torch.tensor([True, True, True, True, False])[:, None, None].expand(-1, 1, len(HEADS))
    valid = torch.tensor([True, True, False, True, True])[:, None]
    judged: Any = SimpleNamespace(entropies=spread, mattered=mattered)
    assert float(lacking_entropy(judged, valid, 0.3)) == pytest.approx((0.2 + 0.3 + 0.0) / 3)
    assert float(lacking_entropy(judged, torch.zeros_like(valid), 0.3)) == 0.0


def test_the_floor_falls_to_nothing() -> None:
    config = PPOConfig(rounds=10, entropy_floor=0.3)
    assert [round(config.least_entropy(it), 12) for it in (0, 5, 10, 20)] == [0.3, 0.15, 0.0, 0.0]


def test_the_whole_action_is_clipped() -> None:
    ppo = policy()
    buffer = buffer_of(ppo, round_of(ppo))
    batch = Minibatch.of(buffer, buffer.sequences(None))
    judged = evaluate(ppo.network, buffer, batch)
    ones = torch.ones_like(batch.valid, dtype=torch.float32)
    for moved, advantage, clipped in ((0.5, 1.0, True), (0.5, -1.0, False), (-0.5, -1.0, True), (0.1, 1.0, False)):
        loss = policy_loss(judged, moved * ones, advantage * ones[..., None], batch.valid, ppo.config)
        (gradient,) = torch.autograd.grad(loss, judged.log_probs, retain_graph=True)
        assert bool(gradient.any()) is not clipped


def test_values_are_clipped_only_if_asked_for() -> None:
    buffer = buffer_of(policy(), round_of(policy()))
    batch = Minibatch.of(buffer, buffer.sequences(None))
    judged = evaluate(policy().network, buffer, batch)
    gains, seen = buffer.rewards[..., None], batch.take(buffer.values)
    far = Targets(advantages=gains, returns=buffer.rewards + 3.0, values=seen - 2.0)
    plain, clipped = (value_loss(judged, batch, far, PPOConfig(value_clip=clip)) for clip in (None, 0.1))
    expected = 0.5 * (judged.values - far.returns)[batch.valid].square().mean()
    assert plain.item() == pytest.approx(expected.item())
    assert clipped.item() > plain.item()


def test_moments_of_parts_are_those_of_the_whole() -> None:
    rows = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 20.0, 0.0]) + 5.0
    moments = RunningMoments(3)
    for part in rows.split([1, 99, 250, 0, 150]):
        moments.update(part)
    torch.testing.assert_close(moments.mean, rows.double().mean(0))
    torch.testing.assert_close(moments.variance, rows.double().var(0, correction=0))
    assert moments.normalised(torch.full((3,), 1e9), 10.0).tolist() == [10.0] * 3


def test_values_keep_their_meaning_while_the_moments_of_returns_move() -> None:
    ppo = policy()
    features = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))

    def values() -> Tensor:
        with torch.no_grad():
            return ppo.network.denormalised(ppo.network.value_head(features)[..., 0])

    before = values()
    for returns in (torch.tensor([5.0, 9.0, 1.0]), torch.tensor([-100.0, 300.0])):
        ppo.network.take_in_returns(returns)
        torch.testing.assert_close(values(), before, atol=1e-4, rtol=1e-4)
    assert ppo.network.return_moments.deviation() > 50.0
    back = ppo.network.denormalised(ppo.network.normalised_returns(before))
    torch.testing.assert_close(back, before, atol=1e-4, rtol=1e-4)


def test_the_value_collapses_after_several_bad_updates_and_recovers_with_a_good_one() -> None:
    watch = ValueWatch()
    seen = [-1.0, -1.0, None, -1.0, 0.05, -0.5, 0.2, -1.0]
    assert [watch.observe(it) for it in seen] == [False, False, False, True, True, True, False, False]
    found = anomalies(torch.tensor([0.05, 1.0, 6.0]), skipped=0, collapsed=False)
    assert [*found.values()] == [1.0, 1.0, 0.0, 0.0]


def test_the_explained_variance_is_none_where_nothing_varies() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(torch.zeros(3), returns) == 0.0
    assert explained_variance(returns, torch.ones(3)) is None


# The policy as a whole


def test_a_stopped_host_ends_its_own_trajectory_and_loses_its_own_memory() -> None:
    ppo, other = policy(), policy()
    made, undisturbed = round_of(ppo, forget={1: 4}), round_of(other)
    buffer, plain = buffer_of(ppo, made), buffer_of(other, undisturbed)
    assert buffer.ends[:, 1].nonzero().flatten().tolist() == [4, EPOCHS - 1]
    assert buffer.begins[:, 1].nonzero().flatten().tolist() == [0, 5]
    assert not buffer.hidden[5, 1].any()
    assert plain.hidden[5, 1].any()
    assert buffer.final_values[4, 1] == 0.0
    for host in (0, 2):
        assert torch.equal(buffer.hidden[:, host], plain.hidden[:, host])
        assert torch.equal(buffer.chosen[:, host], plain.chosen[:, host])
    found = advantages(
        buffer.rewards, buffer.values, buffer.ends, buffer.final_values, gamma=buffer.gamma, gae_lambda=0.9
    )
    # The penalty in the last step is all that there is to it: nothing of what came later.
    assert float(found[4, 1]) == pytest.approx(float(buffer.rewards[4, 1] - buffer.values[4, 1]), abs=1e-5)


def test_the_same_seed_gives_the_same_bits_over_a_whole_training() -> None:
    def trained(seed: int) -> tuple[list[Any], PolicyState]:
        ppo = policy(seed=seed, update_epochs=2)
        return [ppo.learn(round_of(ppo, number)) for number in range(3)], ppo.state()

    (first, one), (again, two), (_, other) = trained(1), trained(1), trained(2)
    assert first == again
    assert all(torch.equal(tensor, two.tensors[name]) for name, tensor in one.tensors.items())
    assert any(not torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


CHANGED = {
    "rounds": 2,
    "seed": 1,
    "sample": False,
    "hidden": 24,
    "slot_encoding": 12,
    "observation_clip": 0.3,
    "wait_bias": 1.0,
    "learning_rate": 1e-3,
    "final_learning_rate": 2e-3,
    "adam_epsilon": 1e-2,
    "max_gradient_norm": 1e-3,
    "update_epochs": 2,
    "minibatches": 1,
    "chunk_epochs": 2,
    "gae_lambda": 0.5,
    "least_advantage_deviation": 50.0,
    "clip_ratio": 0.001,
    "target_kl": 1e-7,
    "value_coefficient": 0.1,
    "value_clip": 1e-4,
    "entropy_coefficient": 0.2,
    "final_entropy_coefficient": 0.2,
    "entropy_floor": 1.0,
}


@cache
def bits(**options: Any) -> list[float]:
    """The weights after two rounds."""
    ppo = policy(**{"rounds": 4, "learning_rate": 3e-3, "update_epochs": 3, "minibatches": 3} | options)
    for number in range(2):
        ppo.learn(round_of(ppo, number))
    return [float(parameter.double().sum()) for parameter in ppo.network.parameters()]


def test_small_hosts_beside_large_ones_are_learned_from() -> None:
    """What a head draws that is not used may be no slot of the host: nothing is noted of it."""
    ppo = policy(wait_bias=20.0, sample=False)
    made = round_of(ppo)
    notes = [step.decision.memo["chosen"] for trajectory in made for step in trajectory.steps]
    assert notes
    assert [0] * 4 in notes
    assert all(note[1:] == [0, 0, 0] for note in notes if note[0] == 0)
    assert ppo.learn(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", [it.name for it in fields(PPOConfig)])
def test_every_hyper_parameter_makes_a_difference(name: str) -> None:
    # Otherwise nearly all that it does at first is to wait, sampled or not.
    usual = {"wait_bias": 0.0}
    assert bits(**usual | {name: CHANGED[name]}) != bits(**usual)


def test_a_policy_runs_on_hosts_with_another_number_of_slots() -> None:
    ppo = policy()
    ppo.learn(round_of(ppo))
    ppo.reset(Round(hosts=host_names(5), epochs=20))
    for epoch in range(20):
        shown = situations(CATALOGUE, 5, epoch, 20, 3)
        for situation, decision in zip(shown, ppo.decide(shown), strict=True):
            assert all(situation.masks.allows(action) for action in decision.actions)


def test_slots_are_told_apart_by_what_they_are_and_not_by_their_place() -> None:
    network = build_network(Encoder(CATALOGUE).features, len(CATALOGUE), PPOConfig(**SMALL))
    inputs = Encoder(CATALOGUE).inputs([situations(CATALOGUE, 3, 5, 20, 1)[2]]).map(lambda it: it[None])
    turned = torch.tensor([2, 0, 1])
    other = evolve(
        inputs,
        slots=inputs.slots[:, :, turned],
        present=inputs.present[:, :, turned],
        slot=torch.ones_like(inputs.slot),
        blueprint=inputs.blueprint[:, :, turned],
    )
    scores = []
    for it in (evolve(inputs, slot=torch.ones_like(inputs.slot)), other):
        features, encodings, _ = network(it, network.start(1))
        seen: list[Tensor] = []

        def first(head: int, log_probs: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(log_probs)
            return log_probs.argmax(-1) * 0

        network.judge(features, encodings, it, first)
        scores.append(seen[1])
    torch.testing.assert_close(scores[0][..., turned], scores[1])
    assert scores[0].std() > 0.0


def test_it_says_with_which_probability_it_does_what_it_does() -> None:
    ppo = policy()
    ppo.reset(Round(hosts=host_names(HOSTS), epochs=EPOCHS))
    for epoch in range(EPOCHS):
        shown = situations(CATALOGUE, HOSTS, epoch, EPOCHS, 3)
        explained = [ppo.explain(situation) for situation in shown]
        for explanation, decision in zip(explained, ppo.decide(shown), strict=True):
            (action,) = decision.actions
            done = [it for it in explanation.choices if same(it.action, action)]
            assert [it.probability for it in done] == pytest.approx([exp(sum(decision.memo["log_probs"]))], abs=1e-5)
            assert explanation.value == pytest.approx(decision.memo["value"], abs=1e-5)
            assert sum(it.probability for it in explanation.choices) == pytest.approx(1.0, abs=1e-4)


def same(one: Action, other: Action) -> bool:
    return (one.op, one.slot, one.blueprint, one.blend) == (other.op, other.slot, other.blueprint, other.blend)


def test_a_saved_policy_of_other_blueprints_features_or_widths_is_refused_by_name() -> None:
    ppo = policy()
    ppo.learn(round_of(ppo))
    state = ppo.state()
    entries = (*CATALOGUE.entries[:-1], CatalogueEntry(name="stranger", layouts=frozenset(Layout)))
    cases: list[tuple[PPO, PolicyState, str]] = [
        (PPO(PPOConfig(**SMALL), Catalogue(entries)), state, "stranger"),
        (policy(hidden=16), state, "widths"),
        (policy(), evolve(state, record=state.record | other_features(state)), "slot feature alpha"),
    ]
    for wrong, saved, said in cases:
        with pytest.raises(EsperError) as refused:
            wrong.restore(saved)
        assert refused.value.code == "E502"
        assert said in str(refused.value)
    policy().restore(state)


def other_features(state: PolicyState) -> dict[str, Any]:
    schema = state.record["schema"]
    rows = [{**row, "name": "alpha of old"} if row["name"] == "alpha" else row for row in schema["slot"]]
    return {"schema": {**schema, "slot": rows}, "schema_hash": "another"}


def test_what_cannot_be_learned_from_is_refused() -> None:
    ppo = policy()
    made = round_of(ppo)
    first, *rest = made[0].steps
    memo = first.decision.memo
    false = {"chosen": [99, 0, 0, 0], "log_probs": [], "value": "x", "hidden": memo["hidden"].flatten(), "begins": 1}
    for step, code in (
        (evolve(first, reward=None), "E202"),
        (evolve(first, decision=evolve(first.decision, memo={})), "E502"),
        (evolve(first, gamma=0.5), "E502"),
        *(
            (evolve(first, decision=evolve(first.decision, memo={**memo, name: value})), "E502")
            for name, value in false.items()
        ),
    ):
        with pytest.raises(EsperError) as refused:
            ppo.learn([evolve(made[0], steps=(step, *rest)), *made[1:]])
        assert refused.value.code == code
    assert ppo.learn([]) == {}


def test_a_host_that_is_alone_decides_as_it_does_beside_others() -> None:
    together, alone = policy(), policy()
    for ppo in (together, alone):
        ppo.reset(Round(hosts=host_names(HOSTS), epochs=30))
    for epoch in range(30):
        shown = situations(CATALOGUE, HOSTS, epoch, 30, 2)
        (expected,) = alone.decide(shown[:1])
        found = together.decide(shown)[0]
        assert found.memo["chosen"] == expected.memo["chosen"]
        assert found.memo["log_probs"] == pytest.approx(expected.memo["log_probs"], abs=1e-5)


@pytest.mark.parametrize("options", [{"rounds": 0}, {"learning_rate": 0.0}, {"clip_ratio": 1.0}, {"chunk_epochs": 0}])
def test_options_without_meaning_are_refused(options: dict[str, float]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        PPOConfig(**options)


def test_what_a_host_showed_is_worked_out_once_while_its_observation_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    plain = Encoder._made
    monkeypatch.setattr(Encoder, "_made", lambda self, it: made.append(it.host) or plain(self, it))  # type: ignore[func-returns-value]
    encoder, shown = Encoder(CATALOGUE), situations(CATALOGUE, 3, 4, EPOCHS, 0)
    first, again = encoder.inputs(shown), encoder.inputs(shown[::-1])
    assert len(made) == 3
    for it in fields(Inputs):
        assert torch.equal(getattr(first, it.name), getattr(again, it.name).flip(0))
    # Other masks are another row, and what nobody holds any more is let go.
    assert encoder.inputs([only_waiting(shown[0])]).op.sum() == 1
    assert len(made) == 4
    del shown
    assert not encoder._known


def test_inputs_are_as_wide_as_the_table_says() -> None:
    encoder = Encoder(CATALOGUE)
    situation: Situation = situations(CATALOGUE, 2, 3, 9, 0)[1]
    inputs: Inputs = encoder.inputs([situation])
    host, slots = encoder.schema.vector(situation.observation)
    torch.testing.assert_close(inputs.host[0], torch.tensor(host))
    torch.testing.assert_close(inputs.slots[0], torch.tensor(slots))


def test_entropy_and_divergence_of_each_head_are_means_over_the_steps_in_which_it_mattered() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (5, 3, len(HEADS))
    now, before = (torch.rand(shape, generator=generator) - 0.5 for _ in range(2))
    used = torch.rand(shape, generator=generator) < 0.5
    used[..., 2] = False  # no blueprint was chosen in the round
    masks = [torch.rand(5, 3, count, generator=generator) < 0.6 for count in (4, 2, 6, 4)]
    logits = [torch.randn(it.shape, generator=generator) for it in masks]
    valid = torch.rand(shape[:2], generator=generator) < 0.8
    judged = Judged(
        chosen=torch.zeros(shape, dtype=torch.int64),
        log_probs=now,
        used=used,
        distributions=[masked_log_softmax(*it) for it in zip(logits, masks, strict=True)],
        values=torch.zeros(shape[:2]),
    )
    expected: dict[str, float] = {}
    for head, name in enumerate(HEADS):
        places = [(i, j) for i in range(5) for j in range(3) if valid[i, j] and used[i, j, head]]
        # Where nothing is possible everything counts as possible.
        possible = {it: masks[head][it].nonzero()[:, 0].tolist() or [*range(masks[head].shape[-1])] for it in places}
        steps = [it for it in places if len(possible[it]) > 1]
        if steps:
            moved = [float((now - before)[(*it, head)]) for it in steps]
            weights = [[exp(float(logits[head][it][n])) for n in possible[it]] for it in steps]
            shares = [[one / sum(them) for one in them] for them in weights]
            spread = [-sum(p * log(p) for p in them) / log(len(them)) for them in shares]
            expected[f"entropy of {name}"] = sum(spread) / len(steps)
            expected[f"kl of {name}"] = sum(exp(it) - 1.0 - it for it in moved) / len(steps)
    assert len(expected) == 6
    assert by_head(judged, before, valid) == pytest.approx(expected, rel=1e-5)


def test_a_round_says_how_each_head_moved() -> None:
    ppo = policy()
    figures = ppo.learn(round_of(ppo))
    heads = {name.removeprefix("kl of ") for name in figures if name.startswith("kl of ")}
    assert "op" in heads <= {*HEADS}
    assert all(0 <= figures[f"entropy of {head}"] <= 1 for head in heads)
    assert figures["kl of op"] > 0
    assert figures["smallest ratio"] < 1 < figures["largest ratio"]
    assert 0 < figures["ratio deviation"] < figures["largest ratio"] - figures["smallest ratio"]
