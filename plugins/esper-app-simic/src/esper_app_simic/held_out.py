"""What a policy is worth on random seeds that no run has had: whole hosts, trained for this alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from esper_app.api import PluginSet, begin_replay, read_policy_card, resolve_run
from esper_core.api import EsperError


class StoppedError(Exception):
    """Somebody has asked to stop before all hosts were through."""


@frozen(kw_only=True)
class HeldOut:
    """Where policies are validated.

    Attributes:
        seeds: of the hosts.
        file: a configuration file of the validating runs; None: the task's own settings.
        sets: settings of them, as for ``--set``.
    """

    seeds: tuple[int, ...] = tuple(range(900_001, 900_009))
    file: Path | None = None
    sets: tuple[str, ...] = ()


def returns_of(
    card: Path, plugins: PluginSet, where: HeldOut, should_stop: Callable[[], bool] = lambda: False
) -> list[float | None]:
    """Return what a policy earns on each seed: the discounted sum of its rewards; None where a host failed.

    Task, host, number of epochs and rewards are those of the policy's card. Two policies with the same options draw the
    same random numbers, and each decides as its options say: `ppo` draws its actions.

    Raises:
        StoppedError: if `should_stop` says so between two epochs.
        EsperError: whatever keeps a run from beginning.
    """
    described = read_policy_card(card)
    settings: dict[str, Any] = {
        "policy.saved": str(card),
        "epochs": described.epochs,
        "sinks.names": [],
        "twin": "epochs",
        "executor.name": "serial",
        **{f"host.{name}": value for name, value in described.host.items()},
        **described.reward_settings(),
    }
    resolved = resolve_run(described.task, plugins, file=where.file, settings=settings, sets=where.sets)
    gamma = resolved.config.rewards.gamma
    replay = begin_replay(resolved, plugins, where.seeds)
    try:
        while not replay.over:
            if should_stop():
                raise StoppedError
            replay.step()
        finals, _ = replay.finish()
        rewards = replay.rewards
        return [None if it.failure is not None else discounted(rewards[it.host], gamma) for it in finals]
    except EsperError as error:
        if error.code != "E540":
            raise
        return [None] * len(where.seeds)
    finally:
        replay.close()


def discounted(rewards: Sequence[float], gamma: float) -> float:
    """Return the discounted sum of rewards."""
    return sum(gamma**epoch * reward for epoch, reward in enumerate(rewards))
