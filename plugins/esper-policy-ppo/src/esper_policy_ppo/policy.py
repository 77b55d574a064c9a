"""The policy: it decides with the network, notes what it needs to learn, and learns from whole rounds."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from esper_core.api import (
    Catalogue,
    Choice,
    Decision,
    Ended,
    Explanation,
    PolicyState,
    Round,
    Situation,
    Step,
    Trajectory,
    derive_seed,
)
from esper_learning import possible_actions
from esper_policy_ppo.advantages import advantages, compared_by_head, explained_variance, normalised
from esper_policy_ppo.anomalies import ValueWatch, anomalies
from esper_policy_ppo.choices import draw, gumbel
from esper_policy_ppo.cloning import clone
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.inputs import BLENDS, OPS, Encoder, Inputs
from esper_policy_ppo.network import Judged, build_network
from esper_policy_ppo.replayed import learn_replayed
from esper_policy_ppo.rollout_buffer import RolloutBuffer
from esper_policy_ppo.saving import packed_optimizer, refuse_another, refuse_damaged, restore_optimizer
from esper_policy_ppo.update import Targets, movement, ratios, update


class PPO:
    """A recurrent policy under exact masks that learns by PPO.

    What it draws for a host follows from its seed, the round, the host and the epoch, so that hosts do not disturb each
    other and a resumed run draws what the uninterrupted one would have drawn. Within a round its weights and the
    statistics of observations are fixed.

    Args:
        config: hyper-parameters.
        catalogue: the run's blueprints.
    """

    def __init__(self, config: PPOConfig, catalogue: Catalogue) -> None:
        self.config = config
        self.rounds = config.rounds
        self.encoder = Encoder(catalogue)
        self.network = build_network(self.encoder.features, len(catalogue), config)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, eps=config.adam_epsilon, foreach=False
        )
        self.updates = 0
        self.learned_rounds = 0  # in this training; `updates` counts earlier ones too
        self._watch = ValueWatch()
        self._round = 0
        self._hidden: dict[str, Tensor] = {}
        self._attempts: dict[str, int] = {}

    def reset(self, begun: Round) -> None:
        """Begin a round: every host is new. The first round of a training restarts the schedules."""
        if begun.number == 0 and begun.hosts:
            self.learned_rounds = 0
        self._round = begun.number
        self._hidden = {}
        self._attempts = dict.fromkeys(begun.hosts, 0)

    def forget(self, host: str) -> None:
        """Begin with one host as if it were new; its draws are others from then on, so that it takes another path."""
        self._hidden.pop(host, None)
        self._attempts[host] = self._attempts.get(host, 0) + 1

    @torch.no_grad()
    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Return one possible action for each host, with what learning from it takes."""
        if not situations:
            return []
        new = {it.host: self._new_memory() for it in situations if it.host not in self._hidden}
        memories = self._hidden | new
        before = torch.stack([memories[it.host] for it in situations])
        inputs = self.encoder.inputs(situations)
        features, encodings, (h, c) = self.network(inputs.map(lambda it: it[None]), (before[:, 0], before[:, 1]))
        noise = self._noise(situations, inputs) if self.config.sample else None
        judged = self.network.judge(
            features[0],
            encodings[0],
            inputs,
            lambda head, log_probs: draw(log_probs, None if noise is None else noise[head]),
        )
        for it, state in zip(situations, torch.stack([h, c], dim=1), strict=True):
            self._hidden[it.host] = state
        values = self.network.denormalised(judged.values).tolist()
        return [
            self._decision(it, judged, row, values[row], before[row].clone(), it.host in new)
            for row, it in enumerate(situations)
        ]

    @torch.no_grad()
    def explain(self, situation: Situation) -> Explanation:
        """Return every possible action with its probability, and the value, with the memory that it has of the host."""
        actions = possible_actions(situation.masks)
        chosen = torch.tensor([self.encoder.chosen(action, situation.masks) for action in actions])
        before = self._hidden.get(situation.host, self._new_memory())[:, None]
        inputs = self.encoder.inputs([situation])
        features, encodings, _ = self.network(inputs.map(lambda it: it[None]), (before[0], before[1]))
        # A row for each action: what each head thinks of its part, under the masks that follow from the others.
        rows = [0] * len(actions)
        judged = self.network.judge(
            features[0][rows], encodings[0][rows], inputs.map(lambda it: it[rows]), lambda head, _: chosen[:, head]
        )
        probabilities = judged.log_probs.sum(-1).exp().tolist()
        choices = [Choice(action=it, probability=p) for it, p in zip(actions, probabilities, strict=True)]
        return Explanation(
            choices=tuple(sorted(choices, key=lambda it: -it.probability)),
            value=float(self.network.denormalised(judged.values)[0]),
        )

    def learn(self, trajectories: Sequence[Trajectory]) -> Mapping[str, float]:
        """Learn from one round, and return figures about it.

        Raises:
            EsperError: E202 if it had no reward, E502 if this policy did not decide it, or if discounts differ.
        """
        if not any(it.steps for it in trajectories):
            return {}
        config, network, learned = self.config, self.network, self.learned_rounds
        buffer = RolloutBuffer.of(trajectories, self.encoder, config.hidden)
        valid = buffer.valid
        self.value_what_was_cut_short(buffer, trajectories)
        targets, explained = self._targets(buffer)
        entropy_weight = config.entropy_weight(learned)
        self.optimizer.param_groups[0]["lr"] = config.step_size(learned)
        order = torch.Generator().manual_seed(derive_seed(config.seed, "minibatches", self.updates))
        pull = {"entropy_weight": entropy_weight, "entropy_floor": config.least_entropy(learned)}
        count = update(network, self.optimizer, buffer, targets, config, **pull, generator=order)
        moved, distances = ratios(network, buffer, buffer.sequences(config.chunk_epochs))
        self.updates, self.learned_rounds = self.updates + 1, learned + 1

        # Only now: within the rollout and the update observations were normalised alike.
        network.host_moments.update(buffer.inputs.host[valid])
        network.slot_moments.update(buffer.inputs.slots[valid][buffer.inputs.present[valid]])
        figures = {
            **count.mean_losses(),
            "steps": float(buffer.steps),
            "mean reward": float(buffer.rewards[valid].mean()),
            "mean value": float(buffer.values[valid].mean()),
            "optimizer steps": float(count.steps),
            "skipped minibatches": float(count.skipped),
            "stopped at target kl": float(count.stopped),
            **distances,
            **movement(moved, config.clip_ratio),
            "entropy weight": entropy_weight,
            "learning rate": config.step_size(learned),
            **({} if explained is None else {"explained variance": explained}),
            **anomalies(moved, count.skipped, self._watch.observe(explained)),
        }
        return {name: value for name, value in figures.items() if value == value and abs(value) != float("inf")}

    def _targets(self, buffer: RolloutBuffer) -> tuple[Targets, float | None]:
        """Take in a round's returns; return what it trains towards, and the share that its values explained."""
        found = advantages(
            buffer.rewards,
            buffer.values,
            buffer.ends,
            buffer.final_values,
            gamma=buffer.gamma,
            gae_lambda=self.config.gae_lambda,
        )
        returns, valid = found + buffer.values, buffer.valid
        explained = explained_variance(buffer.values[valid], returns[valid])

        # Values keep their meaning while the moments of returns move.
        self.network.take_in_returns(returns[valid])
        least = self.config.least_advantage_deviation * float(self.network.return_moments.deviation())
        judged = normalised(found, buffer.choosable, least)
        return Targets(
            advantages=compared_by_head(judged, buffer.chosen[..., 0], buffer.choosable),
            returns=self.network.normalised_returns(returns),
            values=self.network.normalised_returns(buffer.values),
        ), explained

    def learn_replayed(
        self, trajectories: Sequence[Trajectory], weights: Sequence[float]
    ) -> tuple[Mapping[str, float], Sequence[float]]:
        """Learn from what other versions of it decided, with V-trace, after `learn`; see `LearnsReplayed`.

        Raises:
            EsperError: E202 if it had no reward, E502 if no version of it decided it, if discounts differ, or if there
                is not a weight for each trajectory and a host of its own.
        """
        return learn_replayed(self, trajectories, weights)

    def imitate(self, trajectories: Sequence[Trajectory], *, passes: int) -> Mapping[str, float]:
        """Learn to decide as others did; see `esper_policy_ppo.cloning.clone`."""
        return clone(self, trajectories, passes=passes)

    def state(self) -> PolicyState:
        """Return weights, moments, the optimizer's state, hidden states and counters."""
        tensors = {f"network/{name}": tensor.clone() for name, tensor in self.network.state_dict().items()}
        tensors |= packed_optimizer(self.optimizer)
        tensors |= {f"hidden/{host}": state.clone() for host, state in self._hidden.items()}
        record = {
            "catalogue": self.encoder.catalogue.digest,
            "blueprints": list(self.encoder.catalogue.names),
            "schema": self.encoder.schema.record(),
            "schema_hash": self.encoder.schema.hash,
            "widths": [self.config.hidden, self.config.slot_encoding],
            "updates": self.updates,
            "learned_rounds": self.learned_rounds,
            "value_watch": [self._watch.bad, self._watch.collapsed],
            "round": self._round,
            "attempts": dict(self._attempts),
        }
        return PolicyState(tensors=tensors, record=record)

    def restore(self, state: PolicyState) -> None:
        """Go on from such a state.

        Raises:
            EsperError: E502 if it is of another catalogue, of other features or widths, or not whole.
        """
        refuse_another(state, self.encoder, self.config)
        refuse_damaged(state, self.network, [*self.network.parameters()], self._new_memory())
        weights = {name.removeprefix("network/"): it for name, it in state.tensors.items() if name[:8] == "network/"}
        self.network.load_state_dict(weights)
        restore_optimizer(self.optimizer, state.tensors)
        self._hidden = {
            name.removeprefix("hidden/"): it.clone() for name, it in state.tensors.items() if name[:7] == "hidden/"
        }
        record = state.record
        self.updates, self._round, self._attempts = record["updates"], record["round"], dict(record["attempts"])
        self.learned_rounds = record.get("learned_rounds", self.updates)
        self._watch = ValueWatch(*record["value_watch"])

    def _new_memory(self) -> Tensor:
        """What it remembers of a host that it has not seen: the LSTM's two states, (2, hidden)."""
        return torch.stack(self.network.start(1), dim=1)[0]

    def _noise(self, situations: Sequence[Situation], inputs: Inputs) -> Sequence[Tensor]:
        """Gumbel noise for each head, (B, C); a host's own does not depend on how many slots others have."""
        slots = inputs.present.shape[-1]
        widths = (len(OPS), slots, len(self.encoder.catalogue), len(BLENDS))
        drawn = torch.zeros(len(situations), sum(widths))
        for row, it in enumerate(situations):
            place = (it.host, it.observation.host.epoch, self._attempts.get(it.host, 0))
            seed = derive_seed(self.config.seed, "ppo", self._round, *place)
            generator = torch.Generator().manual_seed(seed)
            parts = drawn[row].split(widths)
            for part, width in zip(parts, (len(OPS), len(it.masks.slots), *widths[2:]), strict=True):
                part[:width] = torch.rand(width, generator=generator)
        return gumbel(drawn).split(widths, dim=-1)

    def _decision(
        self, situation: Situation, judged: Judged, row: int, value: float, before: Tensor, begins: bool
    ) -> Decision:
        log_probs = judged.log_probs[row]
        probability = float(log_probs.sum().exp())
        plain = self.encoder.action(judged.chosen[row].tolist(), situation.masks)
        action = evolve(
            plain,
            policy="ppo",
            reason=f"probability {probability:.2f}, value {value:+.3f}",
            confidence=min(1.0, probability),
        )
        memo: dict[str, Any] = {
            # Heads that the operation does not use have drawn as well, maybe a slot of a larger host's beside this one.
            "chosen": self.encoder.chosen(plain, situation.masks),
            "log_probs": log_probs.tolist(),
            "value": value,
            "hidden": before,
            "begins": begins,
        }
        return Decision(actions=[action], memo=memo)

    @torch.no_grad()
    def value_what_was_cut_short(self, buffer: RolloutBuffer, trajectories: Sequence[Trajectory]) -> None:
        """Fill in the value of the final observation of each trajectory that ended and was not over."""
        rows: dict[str, int] = {}
        columns = {host: index for index, host in enumerate(dict.fromkeys(it.host for it in trajectories))}
        for trajectory in trajectories:
            rows[trajectory.host] = rows.get(trajectory.host, 0) + len(trajectory.steps)
            last = trajectory.steps[-1]
            if last.ended is not Ended.NONE and not last.terminal:
                at = rows[trajectory.host] - 1, columns[trajectory.host]
                buffer.final_values[at] = self._value_after(last, trajectory.final, buffer.hidden[at])

    def _value_after(self, last: Step, final: Situation, before: Tensor) -> Tensor:
        """The value of what was seen after a step, with the memory of that step."""
        seen = Situation(host=last.host, observation=last.observation, masks=last.masks)
        hidden = (before[None, 0], before[None, 1])
        for situation in (seen, final):
            inputs = self.encoder.inputs([situation]).map(lambda it: it[None])
            features, _, hidden = self.network(inputs, hidden)
        values = self.network.value_head(features)[0, 0, 0]
        return self.network.denormalised(values)[0]
