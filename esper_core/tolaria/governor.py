"""The governor: watches a host's vital signs, and allows or denies every structural change. Nothing switches it off."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from attrs import asdict, define, evolve, field, frozen, validators

from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Op, Verdict
from esper_core.leyline.errors import summary
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.protocols import Evaluator
from esper_core.leyline.reports import Rollback
from esper_core.leyline.structure import structure
from esper_core.leyline.vital_signs import VitalSigns, Vote

#: Samples that are named at most.
_NAMED = 5

#: Losses of normal epochs that are remembered.
_RECENT = 20


@frozen(kw_only=True)
class GovernorRules:
    """What follows from the evaluators' votes. None of it switches the review of actions off.

    Attributes:
        max_rollbacks: how often a host may be rolled back to its last good state when it must not be trained as it
            stands; the next time it is stopped. 0: it is never rolled back.
        recovery_epochs: normal epochs in a row until a governor that was not normal is normal again.
        watch_epochs: for this many epochs after a structural change a host that may be rolled back is watched:
            evaluators may be stricter.
    """

    max_rollbacks: int = field(default=3, validator=[validators.instance_of(int), validators.ge(0)])
    recovery_epochs: int = field(default=2, validator=[validators.instance_of(int), validators.ge(1)])
    watch_epochs: int = field(default=3, validator=[validators.instance_of(int), validators.ge(0)])


@define(kw_only=True)
class GovernorMemory:
    """All that is remembered of earlier epochs: evaluators remember nothing.

    Attributes:
        first_loss: the first validation loss; None before it.
        best_loss: the lowest validation loss so far.
        objections: by evaluator, in how many epochs in a row it has not voted ``NORMAL``.
        recovered: normal epochs in a row, up to now.
        recent_losses: validation losses of the last epochs to which nobody objected, oldest first.
        changed_epoch: the epoch that began with the last structural change; None before it.
        rollbacks: of the host, oldest first.
        embargoed: by slot, blueprints that have begun to act there before a rollback: they are not germinated there
            again.
    """

    first_loss: float | None = None
    best_loss: float = float("inf")
    objections: dict[str, int] = field(factory=dict)
    recovered: int = 0
    recent_losses: list[float] = field(factory=list)
    changed_epoch: int | None = None
    rollbacks: list[Rollback] = field(factory=list)
    embargoed: dict[str, list[str]] = field(factory=dict)


@define
class Governor:
    """The authority over one host.

    A loss that is not finite stops the host at once. In every other epoch with a validation loss the evaluators vote,
    and the strictest vote decides: a conservative governor denies what adds structure. The mode becomes stricter at
    once, and normal again after some normal epochs; so does that of a host that is trained all the same after it was
    stopped, in a loop of the user's own. What holds the host's state may roll it back instead, see `may_roll_back`.

    Attributes:
        random_guess_loss: loss of a model that knows nothing, in nats; 0 where that is not known.
        evaluators: vote on the host, by name.
        rules: what follows from the votes.
        mode: normal, conservative or stopped.
        reason: why the mode is not normal.
        memory: what is remembered of earlier epochs.
    """

    random_guess_loss: float
    evaluators: Mapping[str, Evaluator] = field(factory=dict)
    rules: GovernorRules = field(factory=GovernorRules)
    mode: GovernorMode = GovernorMode.NORMAL
    reason: str = ""
    memory: GovernorMemory = field(factory=GovernorMemory)

    def observe(self, evidence: Evidence) -> None:
        """Take in an epoch's evidence and choose the mode. Metrics of no samples are no measurement."""
        for name, metrics in (("training", evidence.train), ("validation", evidence.validation)):
            if metrics.samples and not isfinite(metrics.loss):
                self.stop(f"the {name} loss is {metrics.loss}{_which(metrics)}")
                return
        if evidence.validation.samples:
            self._follow(strictest(self._votes(evidence)))

    def stop(self, reason: str) -> None:
        """Veto any further training of the network as it stands."""
        self.mode, self.reason, self.memory.recovered = GovernorMode.STOPPED, reason, 0

    @property
    def may_roll_back(self) -> bool:
        """The network must not be trained as it stands, and the rules allow its host another attempt."""
        return self.mode is GovernorMode.STOPPED and len(self.memory.rollbacks) < self.rules.max_rollbacks

    def rolled_back(self, rollback: Rollback, suspects: Mapping[str, str]) -> None:
        """Hold back after a rollback; the blueprints of `suspects`, by slot, are never germinated there again."""
        for slot, blueprint in suspects.items():
            self.memory.embargoed.setdefault(slot, []).append(blueprint)
        self.memory.rollbacks.append(rollback)
        self.memory.changed_epoch, self.mode = rollback.from_epoch + 1, GovernorMode.CONSERVATIVE
        where = f"the state after epoch {rollback.to_epoch + 1}"
        self.reason = f"the host was rolled back to {where}, attempt {rollback.attempt}: {rollback.reason}"

    def review(self, action: Action, masks: ActionMasks) -> Verdict:
        """Allow or deny an action. WAIT is always allowed, and a cull as long as it is possible."""
        return Verdict(action_id=action.id, allowed=not (why := self._objection(action, masks)), reason=why)

    def record(self) -> dict[str, Any]:
        """Return its mode and memory as plain data."""
        return {"mode": self.mode.value, "reason": self.reason, "memory": asdict(self.memory)}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Go on from a record."""
        self.mode, self.reason = GovernorMode(record["mode"]), record["reason"]
        self.memory = structure(GovernorMemory, record["memory"])

    def _follow(self, vote: Vote) -> None:
        """A stricter vote is followed at once, a milder one after enough normal epochs in a row."""
        strictness = [*GovernorMode].index
        self.memory.recovered = self.memory.recovered + 1 if vote.mode is GovernorMode.NORMAL else 0
        if strictness(vote.mode) >= strictness(self.mode) or self.memory.recovered >= self.rules.recovery_epochs:
            self.mode, self.reason = vote.mode, vote.reason

    def _votes(self, evidence: Evidence) -> list[Vote]:
        memory, loss = self.memory, evidence.validation.loss
        memory.first_loss = loss if memory.first_loss is None else memory.first_loss
        memory.best_loss = min(memory.best_loss, loss)
        signs = VitalSigns(
            evidence=evidence,
            first_loss=memory.first_loss,
            best_loss=memory.best_loss,
            random_guess_loss=self.random_guess_loss or None,
            recent_losses=tuple(memory.recent_losses),
            watched=self._watches(evidence.epoch),
        )
        votes = []
        for name, evaluator in self.evaluators.items():
            objections = memory.objections.get(name, 0)
            votes.append(_ask(name, evaluator, evolve(signs, objections=objections)))
            memory.objections[name] = 0 if votes[-1].mode is GovernorMode.NORMAL else objections + 1
        if not any(memory.objections.values()):
            memory.recent_losses = [*memory.recent_losses, loss][-_RECENT:]
        return votes

    def _watches(self, epoch: int) -> bool:
        changed, undone = self.memory.changed_epoch, len(self.memory.rollbacks)
        return changed is not None and epoch - changed < self.rules.watch_epochs and undone < self.rules.max_rollbacks

    def _objection(self, action: Action, masks: ActionMasks) -> str:
        if action.op is Op.WAIT:
            return ""
        kept = action.op is Op.FOSSILIZE and self.mode is GovernorMode.CONSERVATIVE
        if self.mode is not GovernorMode.NORMAL and action.op is not Op.CULL and not kept:
            return f"the governor is {self.mode.value}: {self.reason}"
        if action.op is Op.GERMINATE and action.blueprint in self.memory.embargoed.get(action.slot or "", ()):
            return f"{action.blueprint} is not germinated at {action.slot} again: the host was rolled back after it"
        if not masks.allows(action):
            blueprint = f" {action.blueprint}" if action.blueprint else ""
            return f"impossible: {action.op.name}{blueprint} at {action.slot} as the slots stand"
        return ""


def strictest(votes: Iterable[Vote]) -> Vote:
    """Return the vote that decides: the strictest mode, with the reasons of all objections; normal without any vote."""
    objections = [vote for vote in votes if vote.mode is not GovernorMode.NORMAL]
    mode = max((vote.mode for vote in objections), key=[*GovernorMode].index, default=GovernorMode.NORMAL)
    return Vote(mode=mode, reason="; ".join(vote.reason for vote in objections))


def _ask(name: str, evaluator: Evaluator, signs: VitalSigns) -> Vote:
    """An evaluator that fails has not said that the host is well."""
    try:
        if not isinstance(vote := evaluator.evaluate(signs), Vote):
            raise TypeError(f"it gave {vote!r:.80} for a vote")
    except Exception as error:  # whatever a third party's evaluator raises: a safeguard must not end the run
        why = f'evaluator "{name}" failed: {summary(error)}'
        vote = Vote(mode=GovernorMode.CONSERVATIVE, reason=why)
    return vote


def _which(metrics: EpochMetrics) -> str:
    """Name the first samples whose losses are not finite, if those are known."""
    losses = metrics.sample_losses
    if losses is None:
        return ""
    broken = [index for index, loss in enumerate(losses) if not isfinite(loss)]
    named = ", ".join(map(str, broken[:_NAMED])) + (", ..." if len(broken) > _NAMED else "")
    return f" ({len(broken)} of {len(losses)} samples: {named})" if broken else ""
