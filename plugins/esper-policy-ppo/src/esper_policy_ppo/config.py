"""The hyper-parameters, all of them, each in use. The discount is the run's (``rewards.gamma``)."""

from typing import Any

from attrs import field, frozen, validators

_NUMBER: Any = validators.instance_of((int, float))
_COUNT: Any = [validators.instance_of(int), validators.ge(1)]


def _positive(default: float) -> Any:
    return field(default=default, validator=[_NUMBER, validators.gt(0.0)])


def _limit(default: float | None) -> Any:
    return field(default=default, validator=validators.optional([_NUMBER, validators.gt(0.0)]))


def _not_negative(default: float) -> Any:
    return field(default=default, validator=[_NUMBER, validators.ge(0.0)])


def _share(default: float) -> Any:
    return field(default=default, validator=[_NUMBER, validators.ge(0.0), validators.le(1.0)])


def _count(default: int) -> Any:
    return field(default=default, validator=_COUNT)


@frozen(kw_only=True)
class PPOConfig:
    """Hyper-parameters of `ppo`.

    Attributes:
        rounds: the number of training rounds, over which the schedules below run. Further training of a saved policy
            restarts them.
        seed: of its first weights, of what it draws, and of the order of its minibatches.
        sample: draw actions from the policy; otherwise the most probable operation, then slot, and so on.
        hidden: width of the network and of its LSTM.
        slot_encoding: width of what it makes of each slot.
        observation_clip: normalised features are clipped to plus and minus this.
        wait_bias: what the logit of waiting begins with, those of the other operations with 0. A policy that begins
            with all operations alike removes nearly every seed before it can show what it is worth.
        learning_rate: Adam's at first.
        final_learning_rate: Adam's after `rounds` rounds; in between it goes in a straight line.
        adam_epsilon: Adam's.
        max_gradient_norm: the gradient is scaled down to this norm.
        update_epochs: passes over a round's steps, at most.
        minibatches: of sequences, in each pass.
        chunk_epochs: trajectories are cut into sequences of this length, each begun with the hidden state that was
            there; None: not cut.
        gae_lambda: bias against variance of the advantages, 0 to 1 (Schulman et al., 2016).
        least_advantage_deviation: advantages are divided by their standard deviation, and by no less than this share of
            that of returns: where all hosts do the same, what is left is the value's error, and no reason to change.
        clip_ratio: how far an update may move the probability of what was done (Schulman et al., 2017).
        target_kl: the update stops before the step at which the mean KL divergence from the policy that acted is 1.5
            times this; None: never.
        value_coefficient: weight of the value loss.
        value_clip: how far an update may move a value, in standard deviations of the return; None: not limited.
        entropy_coefficient: weight of the entropy at first, each head's as a share of what was possible.
        final_entropy_coefficient: its weight after `rounds` rounds; in between it goes in a straight line.
        entropy_floor: an update holds the entropy of the operation, in each step, at this share of what was possible
            or above it, at first; it goes in a straight line to 0 after `rounds` rounds. 0: no floor.
    """

    rounds: int = _count(100)
    seed: int = field(default=0, validator=validators.instance_of(int))
    sample: bool = field(default=True, validator=validators.instance_of(bool))
    hidden: int = _count(128)
    slot_encoding: int = _count(64)
    observation_clip: float = _positive(10.0)
    wait_bias: float = field(default=2.0, validator=_NUMBER)
    learning_rate: float = _positive(3e-4)
    final_learning_rate: float = _not_negative(3e-5)
    adam_epsilon: float = _positive(1e-5)
    max_gradient_norm: float = _positive(0.5)
    update_epochs: int = _count(4)
    minibatches: int = _count(4)
    chunk_epochs: int | None = field(default=None, validator=validators.optional(_COUNT))
    gae_lambda: float = _share(0.95)
    least_advantage_deviation: float = _not_negative(0.1)
    clip_ratio: float = field(default=0.2, validator=[_NUMBER, validators.gt(0.0), validators.lt(1.0)])
    target_kl: float | None = _limit(0.02)
    value_coefficient: float = _not_negative(0.5)
    value_clip: float | None = _limit(None)
    entropy_coefficient: float = _not_negative(0.05)
    final_entropy_coefficient: float = _not_negative(0.01)
    entropy_floor: float = _share(0.0)

    def entropy_weight(self, rounds: int) -> float:
        """Return the weight of the entropy after this many rounds."""
        return self._between(self.entropy_coefficient, self.final_entropy_coefficient, rounds)

    def least_entropy(self, rounds: int) -> float:
        """Return the floor of the operation's entropy after this many rounds, 0 to 1."""
        return self._between(self.entropy_floor, 0.0, rounds)

    def step_size(self, rounds: int) -> float:
        """Return Adam's learning rate after this many rounds."""
        return self._between(self.learning_rate, self.final_learning_rate, rounds)

    def _between(self, first: float, last: float, rounds: int) -> float:
        return first + min(1.0, rounds / self.rounds) * (last - first)
