"""A training whose policy does not learn in it but becomes the champion of the state directory, between two rounds.

The random seeds of its hosts come again after a cycle of rounds, so that a policy is compared with the one before it on
the same seeds. A new champion takes the place of one that has been through a whole cycle, and is judged after one.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from attrs import Factory, define, evolve, frozen

from esper_app.execution.assembly import Assembly
from esper_app.execution.checkpoint import Checkpoint
from esper_app.execution.policy_files import SavedPolicy, load_policy, rebuild_policy
from esper_app.execution.staging import ROUNDS, TeachablePolicy, Versions
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.learning import Decision, Round, Situation, Trajectory
from esper_core.leyline.optional import optional_part
from esper_core.tamiyo.policy import Policy

#: What a saved policy may lead to where it has the right kind and the wrong content.
_WRONG = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@frozen(kw_only=True)
class FollowingPolicy(TeachablePolicy):
    """A policy that does not learn from a round, but tells that the round is over."""

    def learn(self, trajectories: Any) -> Mapping[str, float]:
        """Learn nothing."""
        acted = self.state()
        assert acted is not None  # what could learn is stateful
        self.learned(acted, tuple(trajectories), {})
        return {}


def followed(following: "Following") -> Versions:
    """Return the versions of the rounds of a training that follows the champion."""
    return Versions(version=lambda number: following.version, cycle=following.cycle)


@define(kw_only=True)
class Following:
    """Which version decides, and what has been found out about it.

    Attributes:
        assembly: the parts of the training.
        policy: whose actor is given what the versions have learned.
        version: that decides.
        former: the one before it, as long as `version` is on trial; None: it is not.
        refused: versions that are not taken any more.
    """

    assembly: Assembly
    policy: Policy
    version: str
    former: str | None = None
    refused: list[str] = Factory(list)

    @classmethod
    def of(cls, assembly: Assembly, policy: Policy) -> "Following":
        """Begin with the policy that the training begins with.

        Raises:
            EsperError: E202 if it is not a version of the store.
        """
        return cls(assembly=assembly, policy=policy, version=followed_version(assembly))

    @property
    def cycle(self) -> int:
        """After so many rounds the random seeds come again."""
        return ceil(int(self._part().EPISODES) / self.assembly.config.hosts)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Know again what was known in the round of a checkpoint, which holds what its version has learned."""
        over = checkpoint.loop[ROUNDS].record["over"] if ROUNDS in checkpoint.loop else []
        if over:
            record = over[-1]["following"]
            self.version, self.former, self.refused = record["version"], record["former"], list(record["refused"])

    def round_over(
        self, over: Sequence[dict[str, Any]], trajectories: Sequence[Trajectory], emit: Callable[[Event], None]
    ) -> None:
        """Judge the version that decides, or take a new champion, if there is reason to.

        Args:
            over: what is known of all rounds so far: their numbers, versions and returns; of the last one it is noted
                which version decided in it, and which one does from now on.
            trajectories: of the last one.
            emit: takes events.
        """
        over[-1]["version"] = self.version
        self._decide(over, trajectories, emit)
        following = {"version": self.version, "former": self.former, "refused": list(self.refused)}
        over[-1]["following"] = following

    def _decide(
        self, over: Sequence[Mapping[str, Any]], trajectories: Sequence[Trajectory], emit: Callable[[Event], None]
    ) -> None:
        mine = self._returns(over, self.version)
        if len(mine) < self.cycle * self.assembly.config.hosts:
            return
        if self.former is not None:
            self._judge(self._returns(over, self.former), mine, emit)
            return
        try:
            champion = self._part().present_champion()
        except EsperError as error:
            self._tell(emit, f"the champion cannot be taken: {error.what}: {error.why}", change="refused")
            return
        if champion is not None:
            version, card = champion
            if version != self.version and version not in self.refused:
                self._take(version, card, trajectories, emit)

    def _judge(
        self, before: Mapping[tuple[int, str], float], after: Mapping[tuple[int, str], float], emit: Any
    ) -> None:
        found = self._part().compared(before, after)
        if found is None:
            return
        version, former = self.version, self.former
        assert former is not None
        figures = {
            "episodes": found.episodes,
            "mean_paired_return": found.difference,
            "standard_error": found.error,
        }
        said = f"its mean paired return is {found.difference:+.4f}, with a standard error of {found.error:.4f}, "
        said += f"over {found.episodes} episodes"
        self.former = None
        if not found.worse:
            self._tell(emit, f"the policy {version} is kept: {said}", change="kept", before=former, **figures)
            return
        saved = load_policy(self._part().card_of(former))
        self.policy.restore(saved.state)
        self.version = former
        self.refused.append(version)
        self._part().take_back(version, said)
        what = f"the policy {version} is rolled back, {former} decides again: {said}"
        self._tell(emit, what, change="rolled back", before=version, **figures)

    def _take(self, version: str, card: Path, trajectories: Sequence[Trajectory], emit: Any) -> None:
        """Try a champion on what the last round has seen, before it decides anything."""
        try:
            saved = load_policy(card)
            agreement = self._shadow(version, saved, trajectories)
            self.policy.restore(saved.state)
        except (EsperError, *_WRONG) as error:
            self.refused.append(version)
            why = f"{error.what}: {error.why}" if isinstance(error, EsperError) else f"{type(error).__name__}: {error}"
            self._tell(emit, f"the champion {version} is refused: {why}", change="refused", refused=version)
            return
        self.former, self.version = self.version, version
        what = f"the policy {version} takes the place of {self.former} from the next round on; it would have done the "
        what += f"same in {100 * agreement:.0f} % of the last round's steps"
        self._tell(emit, what, change="swapped", before=self.former, agreement=agreement)

    def _shadow(self, version: str, saved: SavedPolicy, trajectories: Sequence[Trajectory]) -> float:
        """Return in which share of steps it would have done the same. Raises EsperError E502 if it cannot decide."""
        own = self.assembly.config.policy
        if (saved.card.policy, saved.card.catalogue) != (own.name, self.assembly.catalogue.digest):
            why = "it is another policy than the training's, or one of other blueprints"
            raise EsperError("E502", "it does not fit this training", why=why, fix="begin another one with it")
        # With the training's options, which need not be those that it was trained with: what does not fit is refused.
        policy = rebuild_policy(evolve(saved.card, options=own.options), self.assembly.registry, version)
        policy.restore(saved.state)
        hosts = tuple(dict.fromkeys(it.host for it in trajectories))
        policy.reset(Round(number=trajectories[0].round, hosts=hosts, epochs=self.assembly.config.epochs))
        same, steps = 0, 0
        by_epoch: dict[int, list[tuple[Situation, Decision]]] = {}
        for step in (step for it in trajectories for step in it.steps):
            situation = Situation(host=step.host, observation=step.observation, masks=step.masks)
            by_epoch.setdefault(step.epoch, []).append((situation, step.decision))
        for _, seen in sorted(by_epoch.items()):
            decisions = policy.decide([situation for situation, _ in seen])
            for (situation, taken), decision in zip(seen, decisions, strict=True):
                if not all(situation.masks.allows(action) for action in decision.actions):
                    raise EsperError("E502", "it asks for what is not possible", where=situation.host)
                same += _plain(taken) == _plain(decision)
                steps += 1
        return same / max(steps, 1)

    def _returns(self, over: Sequence[Mapping[str, Any]], version: str) -> dict[tuple[int, str], float]:
        """The newest return of a version for each place in the cycle and host."""
        return {
            (it["round"] % self.cycle, host): value
            for it in over
            if it["version"] == version
            for host, value in it["returns"].items()
        }

    def _tell(self, emit: Callable[[Event], None], message: str, *, change: str, **more: Any) -> None:
        policy = {"change": change, "version": self.version, **more}
        emit(Event(kind=EventKind.NOTICE, data={"message": message, "policy": policy}))

    def _part(self) -> Any:
        return optional_part("esper_simic.following", "there is no champion to follow", where="policy.follow")


def _plain(decision: Decision) -> list[tuple[Any, ...]]:
    return [(it.op, it.slot, it.blueprint) for it in decision.actions]


def followed_version(assembly: Assembly) -> str:
    """Return the version that a training begins with. Raises EsperError E202 if it is none of the store."""
    version = assembly.config.policy.version
    if version is None:
        what = "only a version of the state directory's store can be followed"
        raise EsperError("E202", what, where="policy.follow", fix="begin with the champion: --policy champion")
    return version
