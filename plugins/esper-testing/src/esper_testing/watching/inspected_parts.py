"""Gates, evaluators, reward terms, policies and sinks under inspection: each before the real one, called per epoch."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import attrs
from attrs import frozen

from esper_core.leyline.actions import Action, GovernorMode
from esper_core.leyline.events import Event
from esper_core.leyline.evidence import GateResult, SeedEvidence
from esper_core.leyline.learning import Decision, PolicyState, Situation, Step, Trajectory
from esper_core.leyline.protocols import Evaluator, Gate, RewardTerm, Sink
from esper_core.leyline.records import to_json
from esper_core.leyline.stages import GateLevel
from esper_core.leyline.vital_signs import VitalSigns, Vote
from esper_core.tamiyo.policy import ANSWER, Policy, wrong_answer
from esper_testing.watching.inspection import GlobalRandom, Handed, Inspection


@frozen
class InspectedGate:
    """A gate whose every verdict is looked at: a verdict, of its own level, with a score, and a reason to refuse."""

    gate: Gate
    level: GateLevel
    title: str
    inspection: Inspection

    @property
    def consecutive_passes(self) -> int:
        """As the gate says."""
        passes = self.gate.consecutive_passes
        with self.inspection as inspection:
            if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
                cause = "an option without a lower limit"
                inspection.broken(
                    self.title, f"asks for {passes!r} passes in a row", cause=cause, fix="return 1 or more"
                )
        return passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Judge as the gate does."""
        with self.inspection as inspection:
            generators, before = GlobalRandom(), Handed(inspection, self.title, evidence)
        result = self.gate.evaluate(evidence)
        with self.inspection as inspection:
            if (wrong := self._wrong(result)) is not None:
                cause = "a verdict that is built from something that was not measured"
                fix = "return GateResult(gate=..., passed=bool(...), score=0.0 to 1.0, reason=...)"
                inspection.broken(self.title, wrong, cause=cause, fix=fix)
            generators.require_still(inspection, self.title, "judging a seed")
            before.require_same(inspection, self.title)
        return result

    def _wrong(self, result: Any) -> str | None:
        if not isinstance(result, GateResult):
            return f"gave {result!r:.80} for a verdict"
        if not isinstance(result.passed, bool):
            return f"gave a verdict whose `passed` is {result.passed!r:.80}"
        if not (isinstance(result.score, int | float) and isfinite(result.score) and 0 <= result.score <= 1):
            return f"gave a verdict with the score {result.score!r:.80}"
        if result.gate is not self.level:
            return f"gave a verdict of {result.gate}, and is the gate {self.level}"
        return None if result.passed or result.reason.strip() else "refused a seed without a reason"


@frozen
class InspectedEvaluator:
    """An evaluator whose every vote is looked at: a vote, with a reason to object."""

    evaluator: Evaluator
    title: str
    inspection: Inspection

    def evaluate(self, signs: VitalSigns) -> Vote:
        """Vote as the evaluator does."""
        with self.inspection as inspection:
            generators, before = GlobalRandom(), Handed(inspection, self.title, signs)
        vote: Any = self.evaluator.evaluate(signs)
        with self.inspection as inspection:
            if not isinstance(vote, Vote) or not isinstance(vote.mode, GovernorMode):
                cause, fix = "a bare mode, or nothing where all is well", "return Vote(mode=..., reason=...)"
                inspection.broken(self.title, f"gave {vote!r:.80} for a vote", cause=cause, fix=fix)
            elif vote.mode is not GovernorMode.NORMAL and not vote.reason.strip():
                cause, fix = "a vote built where the conditions are no longer known", "name the figure and the limit"
                inspection.broken(self.title, "objected to a host without a reason", cause=cause, fix=fix)
            generators.require_still(inspection, self.title, "voting on a host")
            before.require_same(inspection, self.title)
        answer: Vote = vote
        return answer


@frozen
class InspectedTerm:
    """A reward term whose every value is looked at: a number within the bounds that its descriptor declares."""

    term: RewardTerm
    low: float
    high: float
    title: str
    inspection: Inspection

    def value(self, step: Step) -> float:
        """Return the term's value."""
        with self.inspection as inspection:
            generators, before = GlobalRandom(), Handed(inspection, self.title, step)
        value = self.term.value(step)
        with self.inspection as inspection:
            if not isinstance(value, int | float) or not isfinite(value) or not self.low <= value <= self.high:
                inspection.broken(
                    self.title,
                    f"gave {value!r:.80}, and declares {self.low} to {self.high}",
                    cause="a figure that was not measured or is not limited, or a tensor in place of a number",
                    fix="give a neutral value for what is missing, and clamp",
                )
            generators.require_still(inspection, self.title, "computing a reward")
            before.require_same(inspection, self.title)
        return value


@frozen(kw_only=True)
class InspectedPolicy(Policy):
    """A policy whose every decision is looked at: one for each host, within its masks; and what it saves and learns."""

    title: str
    inspection: Inspection

    def decide(self, situations: Sequence[Situation]) -> list[Decision]:
        """Decide as the policy does."""
        with self.inspection as inspection:
            generators, before = GlobalRandom(), Handed(inspection, self.title, situations)
        decisions: Any = self.actor.decide(situations)
        with self.inspection as inspection:
            if (wrong := wrong_answer(decisions, len(situations))) is not None:
                inspection.broken(
                    self.title, wrong, cause="an action in place of a decision, or one too few", fix=ANSWER
                )
            for decision, situation in zip(decisions, situations, strict=True):
                self._require_possible(decision, situation)
            generators.require_still(inspection, self.title, "deciding")
            before.require_same(inspection, self.title)
        return list(decisions)

    def learn(self, trajectories: Sequence[Trajectory]) -> Mapping[str, float]:
        """Learn as the policy does."""
        with self.inspection as inspection:
            generators, before = GlobalRandom(), Handed(inspection, self.title, trajectories)
        figures = super().learn(trajectories)
        with self.inspection as inspection:
            generators.require_still(inspection, self.title, "learning")
            before.require_same(inspection, self.title)
        return figures

    def state(self) -> PolicyState | None:
        """Return its memory: tensors and plain data, since a checkpoint holds it."""
        state = super().state()
        with self.inspection as inspection:
            try:
                to_json({} if state is None else state.record)
            except (TypeError, ValueError) as error:
                seen = f"has a record in its state that is not plain data: {error}"
                fix = "put tensors into PolicyState.tensors, and numbers, text, lists and mappings into its record"
                inspection.broken(self.title, seen, cause="a tensor", fix=fix)
        return state

    def _require_possible(self, decision: Decision, situation: Situation) -> None:
        for action in decision.actions:
            if not situation.masks.allows(action):
                self.inspection.broken(
                    self.title,
                    f"asked for {_told(action)}, which the masks do not allow",
                    cause="a choice from all slots or blueprints, or a blend that is left out",
                    fix="choose from masks.slots_for(op), masks.blueprints_for(slot) and masks.blends",
                )


def inspected_policy(policy: Policy, title: str, inspection: Inspection) -> Policy:
    """Return the policy under inspection."""
    parts = {field.name: getattr(policy, field.name) for field in attrs.fields(Policy)}
    return InspectedPolicy(**parts, title=title, inspection=inspection)


@frozen
class InspectedSink:
    """A sink that is looked at whenever it gets events: it must leave them, and global generators, as they are."""

    sink: Sink
    title: str
    inspection: Inspection

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin a run, or go on with one."""
        self.sink.open(manifest)

    def emit(self, events: Sequence[Event]) -> None:
        """Hand events over."""
        with self.inspection as inspection:
            generators = GlobalRandom()
            before = [to_json(event) for event in events] if inspection.due(self.title) else None
        self.sink.emit(events)
        with self.inspection as inspection:
            if before is not None and [to_json(event) for event in events] != before:
                inspection.broken(
                    self.title,
                    "changed events that other sinks get as well",
                    cause="an assignment to event.data, or a pop from it",
                    fix="work on a copy: dict(event.data)",
                )
            generators.require_still(inspection, self.title, "taking events")

    def flush(self) -> None:
        """Make everything durable or visible."""
        self.sink.flush()

    def close(self) -> None:
        """End the run."""
        self.sink.close()


def _told(action: Action) -> str:
    words = (action.op.name, action.blueprint, action.slot and f"in {action.slot}", action.blend)
    return " ".join(str(word) for word in words if word)
