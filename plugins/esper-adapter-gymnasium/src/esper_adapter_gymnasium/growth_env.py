"""``esper/Growth-v0``: growing a network that is really trained; an epoch of training is a step."""

from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Thread
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from esper_adapter_gymnasium.problems import Problem, products
from esper_adapter_gymnasium.spaces import ActionCoder, Flags, action_space
from esper_core.api import WAIT, Action, ActionMasks, Blend, Decision, EsperError, Op, Situation
from esper_growing import grow
from esper_learning import ObservationSchema


class _Stop(BaseException):
    """Ends a training that nobody waits for any more."""


class _Training:
    """A training in a thread of its own, which stands still wherever a policy is asked.

    The loop of `grow` asks its policy, while an environment is told what to do. The two never run at the same time.
    """

    def __init__(self, problem: Problem, epochs: int, settings: Mapping[str, Any], seed: int) -> None:
        self._questions: SimpleQueue[Situation | BaseException] = SimpleQueue()
        self._answers: SimpleQueue[Action | None] = SimpleQueue()
        self._problem, self._epochs, self._settings, self._seed = problem, epochs, settings, seed
        self._thread = Thread(target=self._run, daemon=True, name="esper-growth")
        self._thread.start()

    def question(self) -> Situation:
        """Return what the policy is asked next. Raises what the training has raised."""
        found = self._questions.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def answer(self, action: Action) -> None:
        """Let the training go on with an action."""
        self._answers.put(action)

    def close(self) -> None:
        """End the training, and wait for its thread."""
        if self._thread.is_alive():
            self._answers.put(None)
            self._thread.join()

    def reset(self, begun: Any) -> None:
        """Begin; nothing is remembered."""

    def decide(self, situations: Any) -> list[Decision]:
        """Ask, and wait for the answer."""
        (situation,) = situations
        self._questions.put(situation)
        action = self._answers.get()
        if action is None:
            raise _Stop
        return [Decision(actions=[action])]

    def _run(self) -> None:
        try:
            self._train()
        except _Stop:
            return
        except BaseException as error:
            self._questions.put(error)

    def _train(self) -> None:
        problem = self._problem
        optimizer = torch.optim.Adam(problem.model.parameters(), lr=problem.lr)
        settings = {"random_guess_loss": problem.random_guess_loss, **self._settings}
        # An epoch more than is trained: what the last one came to is seen before it.
        handle = grow(
            problem.model,
            optimizer=optimizer,
            epochs=self._epochs + 1,
            sites=problem.sites,
            blueprints=problem.blueprints,
            policy=self,
            settings=settings,
            seed=self._seed,
            sample=problem.train[0][0],
        )
        for _ in range(self._epochs):
            handle.model.train()
            total = 0.0
            for inputs, targets in problem.train:
                loss = problem.loss(handle.model(inputs), targets)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.item() / len(problem.train)
            handle.epoch_end(problem.validation, problem.loss, train_loss=total)


class GrowthEnv(gym.Env[Any, Any]):
    """Growing one network that is really trained, offline, on made-up data.

    A step carries an action out and trains an epoch. The reward has two terms: ``accuracy``, the rise of the validation
    accuracy in the epoch, and ``rent``, ``-rent * log2(growth ratio / growth ratio before)``, growth ratios being all
    parameters over the host's own; with a discount of 1 the return is the last accuracy less what was grown. Network,
    data and seeds follow from ``reset(seed=...)``. The end is the planned one: ``terminated``.

    Args:
        epochs: length of an episode.
        problem: makes network and data from a seed.
        actions: ``flat`` or ``factored``; an action that is not possible is a WAIT, and counted.
        rent: accuracy, 0 to 1, that doubling the parameters costs.
        settings: of `esper_core.grow`; durations of the lifecycle above all.

    Raises:
        EsperError: E204 for an unknown action space, E202 for a length below 1, and what `grow` raises.
    """

    metadata = {"render_modes": []}
    _situation: Situation

    def __init__(
        self,
        *,
        epochs: int = 16,
        problem: Callable[[int], Problem] = products,
        actions: str = "flat",
        rent: float = 0.1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if epochs < 1:
            raise EsperError("E202", f"an episode cannot have {epochs} epochs", where="epochs")
        self._epochs, self._problem, self._rent = epochs, problem, rent
        self._settings = {"lifecycle": {"ramp_epochs": 2}} if settings is None else dict(settings)
        self._training: _Training | None = None
        self._invalid = 0
        self._begin(0)
        masks = self._situation.masks
        self._schema = ObservationSchema(masks.blueprints)
        self._coder = ActionCoder(action_space(actions), _actions(masks), len(masks.slots), len(masks.blueprints))
        self.action_space = self._coder.space
        size = len(self._schema.host) + len(masks.slots) * len(self._schema.slot)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (size,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin with a fresh network and fresh data."""
        super().reset(seed=seed)
        self._begin(int(self.np_random.integers(2**31)))
        return self._observed(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Carry an action out, and train an epoch."""
        assert self._training is not None, "reset() comes first"
        before = self._situation.observation.host
        number = self._coder.number(action)
        invalid = not self._possible()[number]
        self._invalid += invalid
        self._training.answer(WAIT if invalid else self._action(number))
        self._situation = self._training.question()
        after = self._situation.observation.host
        terms = {
            "accuracy": (after.validation_accuracy or 0.0) - (before.validation_accuracy or 0.0),
            "rent": -self._rent * float(np.log2((1.0 + after.growth_ratio) / (1.0 + before.growth_ratio))),
        }
        over = after.epoch >= self._epochs
        if over:
            self.close()
        return self._observed(), sum(terms.values()), over, False, {"reward_terms": terms, **self._info(invalid)}

    def close(self) -> None:
        """End the training."""
        if self._training is not None:
            self._training.close()
            self._training = None

    def action_masks(self) -> Flags:
        """Return what is possible now, (M,)."""
        return self._coder.mask(self._possible())

    def _begin(self, seed: int) -> None:
        self.close()
        self._invalid = 0
        self._training = _Training(self._problem(seed), self._epochs, self._settings, seed)
        self._situation = self._training.question()

    def _possible(self) -> Flags:
        return np.array([self._situation.masks.allows(self._action(it)) for it in range(len(self._coder.actions))])

    def _action(self, number: int) -> Action:
        op, slot, blueprint = self._coder.actions[number]
        masks = self._situation.masks
        if op is Op.WAIT:
            return WAIT
        if op is not Op.GERMINATE:
            return Action(op=op, slot=masks.slots[slot])
        return Action(op=op, slot=masks.slots[slot], blueprint=masks.blueprints[blueprint - 1], blend=Blend.LINEAR)

    def _observed(self) -> Any:
        host, slots = self._schema.vector(self._situation.observation)
        return np.array([*host, *(value for slot in slots for value in slot)], dtype=np.float32)

    def _info(self, invalid: bool = False) -> dict[str, Any]:
        return {
            "action_mask": self.action_masks(),
            "invalid_action": bool(invalid),
            "invalid_actions": self._invalid,
        }


def GrowthVectorEnv(num_envs: int = 1, **options: Any) -> SyncVectorEnv:  # noqa: N802
    """Return several `GrowthEnv`, one after the other in a process, that begin again in the step that ends them."""
    return SyncVectorEnv(
        [lambda: GrowthEnv(**options) for _ in range(num_envs)], autoreset_mode=AutoresetMode.SAME_STEP
    )


def _actions(masks: ActionMasks) -> tuple[tuple[Op, int, int], ...]:
    slots, blueprints = range(len(masks.slots)), range(1, len(masks.blueprints) + 1)
    return (
        (Op.WAIT, 0, 0),
        *((Op.GERMINATE, slot, blueprint) for slot in slots for blueprint in blueprints),
        *((Op.CULL, slot, 0) for slot in slots),
        *((Op.FOSSILIZE, slot, 0) for slot in slots),
    )
