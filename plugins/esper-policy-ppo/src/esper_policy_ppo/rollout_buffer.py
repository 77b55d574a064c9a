"""What happened in a round, as tensors (T, N): epochs by hosts. Allocated once, then filled from trajectories."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from esper_core.api import Ended, EsperError, Situation, Step, Trajectory
from esper_policy_ppo.inputs import BLENDS, HEADS, OPS, Encoder, Inputs


@frozen(eq=False, kw_only=True)
class RolloutBuffer:
    """The steps of a round. A host has a column; if a trajectory of it ends early, its next one follows in the column.

    Attributes:
        inputs: (T, N, ...), what the network was given.
        chosen: (T, N, 4) of int64, what was chosen with each head.
        log_probs: (T, N, 4), of that under the policy that acted; 0 for unused heads.
        values: (T, N), in units of the reward, as the policy saw them.
        rewards: (T, N).
        hidden: (T, N, 2, hidden), the hidden and the cell state before each step.
        begins: (T, N) of bool, the hidden state is that of a new host here.
        ends: (T, N) of bool, a trajectory ends after this step.
        final_values: (T, N), the value of what would have come after an end: 0 where nothing would.
        valid: (T, N) of bool, there is a step.
        gamma: the run's discount.
    """

    inputs: Inputs
    chosen: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    hidden: Tensor
    begins: Tensor
    ends: Tensor
    final_values: Tensor
    valid: Tensor
    gamma: float

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory], encoder: Encoder, hidden: int) -> "RolloutBuffer":
        """Allocate the tensors for a round, and fill them.

        Args:
            trajectories: of the round, those of one host in order.
            encoder: makes inputs of situations.
            hidden: width of the hidden state.

        Raises:
            EsperError: E202 if the round had no reward, E502 if its steps are of different discounts, or were not
                decided by this policy.
        """
        columns: dict[str, list[Trajectory]] = {}
        for trajectory in trajectories:
            columns.setdefault(trajectory.host, []).append(trajectory)
        length = max(sum(len(it.steps) for it in column) for column in columns.values())
        slots = max(len(step.masks.slots) for it in trajectories for step in it.steps)
        made = cls._allocated(length, len(columns), max(1, slots), hidden, encoder, _gamma(trajectories))
        for index, column in enumerate(columns.values()):
            made._fill(index, [step for trajectory in column for step in trajectory.steps], encoder)
        return made

    @classmethod
    def _allocated(
        cls, length: int, hosts: int, slots: int, hidden: int, encoder: Encoder, gamma: float
    ) -> "RolloutBuffer":
        grid = (length, hosts)
        return cls(
            inputs=Inputs.empty(grid, encoder.features, slots, len(encoder.catalogue)),
            chosen=torch.zeros(*grid, len(HEADS), dtype=torch.int64),
            log_probs=torch.zeros(*grid, len(HEADS)),
            values=torch.zeros(grid),
            rewards=torch.zeros(grid),
            hidden=torch.zeros(*grid, 2, hidden),
            begins=torch.zeros(grid, dtype=torch.bool),
            ends=torch.zeros(grid, dtype=torch.bool),
            final_values=torch.zeros(grid),
            valid=torch.zeros(grid, dtype=torch.bool),
            gamma=gamma,
        )

    def _fill(self, column: int, steps: Sequence[Step], encoder: Encoder) -> None:
        """Fill in the steps of one host."""
        rows, memos = slice(0, len(steps)), [_memo(it, self.hidden.shape[-1], len(encoder.catalogue)) for it in steps]
        given = encoder.inputs([_situation(step) for step in steps])
        for name in ("host", "op", "blend"):
            getattr(self.inputs, name)[rows, column] = getattr(given, name)
        slots = given.present.shape[-1]
        for name in ("slots", "present", "blueprint"):
            getattr(self.inputs, name)[rows, column, :slots] = getattr(given, name)
        self.inputs.slot[rows, column, :, :slots] = given.slot
        self.chosen[rows, column] = torch.tensor([memo["chosen"] for memo in memos])
        self.log_probs[rows, column] = torch.tensor([memo["log_probs"] for memo in memos])
        self.values[rows, column] = torch.tensor([memo["value"] for memo in memos])
        self.hidden[rows, column] = torch.stack([memo["hidden"] for memo in memos])
        self.begins[rows, column] = torch.tensor([memo["begins"] for memo in memos])
        self.rewards[rows, column] = torch.tensor([_reward(step) for step in steps])
        self.ends[rows, column] = torch.tensor([step.ended is not Ended.NONE for step in steps])
        self.valid[rows, column] = True

    @property
    def choosable(self) -> Tensor:
        """(T, N) of bool, there was more to choose from than to wait."""
        return self.valid & (self.inputs.op.sum(-1) > 1)

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return int(self.valid.sum())

    def sequences(self, chunk: int | None) -> list["Span"]:
        """Cut the columns into sequences: where a host is new, and after `chunk` steps.

        Inside of a sequence no hidden state is reset, so an LSTM can run over it in one call.
        """
        return [it for column in range(self.valid.shape[1]) for it in self._sequences_of(column, chunk)]

    def _sequences_of(self, column: int, chunk: int | None) -> Iterator["Span"]:
        first, length = 0, int(self.valid[:, column].sum())
        for row in range(1, length + 1):
            if row == length or self.begins[row, column] or row - first == chunk:
                yield Span(column=column, first=first, length=row - first)
                first = row


@frozen(kw_only=True)
class Span:
    """Steps of one column in a row: `length` of them from row `first` on."""

    column: int
    first: int
    length: int


@frozen(eq=False, kw_only=True)
class Minibatch:
    """Sequences side by side, padded to the longest, (L, B).

    Attributes:
        rows, columns: (L, B) of int64, where each step is in the buffer; a padded one repeats the sequence's last.
        valid: (L, B) of bool.
        hidden: before the first step of each sequence, two of (B, hidden).
    """

    rows: Tensor
    columns: Tensor
    valid: Tensor
    hidden: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, buffer: RolloutBuffer, sequences: Sequence[Span]) -> "Minibatch":
        """Return a minibatch of these sequences."""
        first = torch.tensor([it.first for it in sequences])
        length = torch.tensor([it.length for it in sequences])
        column = torch.tensor([it.column for it in sequences])
        offsets = torch.arange(int(length.max()))[:, None]
        stored = buffer.hidden[first, column]
        return cls(
            rows=first + torch.minimum(offsets, length - 1),
            columns=column.expand(len(offsets), -1),
            valid=offsets < length,
            hidden=(stored[:, 0], stored[:, 1]),
        )

    def take(self, values: Tensor) -> Tensor:
        """Return the minibatch's part of a tensor of the buffer: (T, N, ...) to (L, B, ...)."""
        return values[self.rows, self.columns]


def _situation(step: Step) -> Situation:
    return Situation(host=step.host, observation=step.observation, masks=step.masks)


def _memo(step: Step, hidden: int, blueprints: int) -> Mapping[str, Any]:
    """Return what this policy has noted of a step, checked: it may come from a file."""
    memo = step.decision.memo
    choices = (len(OPS), max(1, len(step.masks.slots)), blueprints, len(BLENDS))
    fits = {
        "chosen": lambda it: (
            _numbers(it) and all(type(n) is int and 0 <= n < m for n, m in zip(it, choices, strict=True))
        ),
        "log_probs": lambda it: _numbers(it) and all(isinstance(number, float) for number in it),
        "value": lambda it: isinstance(it, float),
        "hidden": lambda it: isinstance(it, Tensor) and (it.shape, it.dtype) == ((2, hidden), torch.float32),
        "begins": lambda it: isinstance(it, bool),
    }
    if wrong := [name for name, right in fits.items() if name not in memo or not right(memo[name])]:
        what = f"a step of host {step.host} has no {wrong[0]} of this policy"
        raise EsperError("E502", what, why="another policy decided it", fix="let this policy decide the round")
    return memo


def _numbers(value: Any) -> bool:
    """Say whether it is one value for each head."""
    return isinstance(value, list) and len(value) == len(HEADS)


def _reward(step: Step) -> float:
    if step.reward is None:
        what = "there is no reward to learn from"
        raise EsperError("E202", what, where="rewards.terms", fix="name reward terms, such as terminal")
    return step.reward.total


def _gamma(trajectories: Sequence[Trajectory]) -> float:
    gammas = {step.gamma for trajectory in trajectories for step in trajectory.steps}
    if len(gammas) != 1:
        raise EsperError(
            "E502", f"the steps of a round have the discounts {sorted(gammas)}", fix="give a run one gamma"
        )
    return gammas.pop()
