"""A policy as a loop uses it: what it declares is what it can do, and what it answers is looked at."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import Decision, Explanation, PolicyState, Round, Situation, Trajectory
from esper_core.leyline.protocols import Actor, Explains, Learner, Recurrent, Stateful
from esper_core.leyline.specs import Capability, as_capabilities

#: What an actor must offer for each capability that its policy declares.
METHODS: Mapping[Capability, tuple[str, ...]] = {
    Capability.STATEFUL: ("state", "restore"),
    Capability.RECURRENT: ("forget",),
    Capability.LEARNS: ("learn", "rounds"),
}

#: What cannot be without a memory that is saved.
_REMEMBERING = frozenset({Capability.RECURRENT, Capability.LEARNS})


@frozen(kw_only=True)
class Policy:
    """An actor with its name and its capabilities.

    Attributes:
        actor: decides.
        name: of the policy, with its version, for the record.
        capabilities: what it declares.

    Raises:
        EsperError: E530 if the actor does not offer what is declared, or offers what is not.
    """

    actor: Actor
    name: str = ""
    capabilities: frozenset[Capability] = field(default=frozenset(), converter=as_capabilities)

    def __attrs_post_init__(self) -> None:
        if problem := contradiction(self.actor, self.capabilities):
            what, fix = problem
            raise EsperError("E530", f"{self._title} {what}", fix=fix)

    @property
    def rounds(self) -> int:
        """How many rounds it wants: 1 if it does not learn."""
        return cast(Learner, self.actor).rounds if Capability.LEARNS in self.capabilities else 1

    def reset(self, begun: Round) -> None:
        """Begin a round."""
        self.actor.reset(begun)

    def decide(self, situations: Sequence[Situation]) -> list[Decision]:
        """Return one decision for each situation, in order.

        Raises:
            EsperError: E530 if the actor gave something else.
        """
        decisions = self.actor.decide(situations)
        if (wrong := wrong_answer(decisions, len(situations))) is not None:
            raise EsperError("E530", f"{self._title} {wrong}", fix=ANSWER)
        return list(decisions)

    def explain(self, situation: Situation) -> Explanation | None:
        """Return what it thinks of a situation, before it decides; None if it does not say."""
        return self.actor.explain(situation) if isinstance(self.actor, Explains) else None

    def learn(self, trajectories: Sequence[Trajectory]) -> Mapping[str, float]:
        """Learn from one round, a trajectory for each of its hosts; return figures, none if it cannot learn."""
        return cast(Learner, self.actor).learn(trajectories) if Capability.LEARNS in self.capabilities else {}

    def forget(self, host: str) -> None:
        """Let a recurrent policy forget one host, whose trajectory has ended before the round has."""
        if Capability.RECURRENT in self.capabilities:
            cast(Recurrent, self.actor).forget(host)

    def state(self) -> PolicyState | None:
        """Return its memory; None if it has none."""
        return cast(Stateful, self.actor).state() if Capability.STATEFUL in self.capabilities else None

    def restore(self, state: PolicyState | None) -> None:
        """Go on from such a memory.

        Raises:
            EsperError: E502 if there is none and the policy has one, or the other way round.
        """
        if (state is None) == (Capability.STATEFUL in self.capabilities):
            why = "it holds nothing of what this policy remembers" if state is None else "this policy has no memory"
            fix = "go on with the policy that the state was saved with"
            raise EsperError("E502", "the saved state is another policy's", where=self.name or None, why=why, fix=fix)
        if state is not None:
            cast(Stateful, self.actor).restore(state)

    @property
    def _title(self) -> str:
        return f"policy {self.name}" if self.name else f"the policy {type(self.actor).__name__}"


#: What to do about an answer that is none.
ANSWER = "return one Decision for each situation, in order; Decision() where nothing is to be done"


def wrong_answer(decisions: Any, count: int) -> str | None:
    """Say what is wrong with the answer to `count` situations; None if nothing is."""
    if not isinstance(decisions, Sequence) or len(decisions) != count:
        return f"answered {count} situations with {decisions!r:.100}"
    wrong = [decision for decision in decisions if not isinstance(decision, Decision)]
    return f"answered a situation with {wrong[0]!r:.100}" if wrong else None


def contradiction(actor: Any, capabilities: frozenset[Capability]) -> tuple[str, str] | None:
    """Say how an actor and its capabilities disagree, and what to do about it; None if they do not."""
    for capability, names in METHODS.items():
        missing = [name for name in names if not hasattr(actor, name)]
        if capability in capabilities and missing:
            what = f'declares "{capability}" and does not offer {", ".join(missing)}'
            return what, "write what is missing, or leave the capability out"
        if capability not in capabilities and not missing:
            what = f'offers {" and ".join(names)} and does not declare "{capability}"'
            return what, f'declare it: capabilities={{"{capability}"}}'
    if capabilities & _REMEMBERING and Capability.STATEFUL not in capabilities:
        what = f'declares "{min(capabilities & _REMEMBERING)}" and not "{Capability.STATEFUL}"'
        return what, "offer state and restore, so that a run can be resumed, and declare it"
    return None


def action_id(host: str, round_number: int, epoch: int, index: int) -> str:
    """Return the id of the action number `index` of a host in an epoch: unique in the run.

    ``grown/3``; ``grown/round-2/3`` in a later round than the first; ``grown/3/1`` for a second action.
    """
    parts = [host, *([f"round-{round_number}"] if round_number else []), str(epoch), *([str(index)] if index else [])]
    return "/".join(parts)
