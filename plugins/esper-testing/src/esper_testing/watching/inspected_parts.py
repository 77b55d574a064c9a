"""Gates, reward terms, policies and sinks under inspection: each stands in front of the real one. Called per epoch."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from attrs import frozen

from esper_core.leyline.actions import Action, ActionMasks, Transition
from esper_core.leyline.events import Event
from esper_core.leyline.evidence import Evidence, GateResult, SeedEvidence
from esper_core.leyline.observation import Observation
from esper_core.leyline.protocols import Actor, Gate, Resumable, RewardTerm, Sink
from esper_core.leyline.records import to_json
from esper_core.leyline.stages import GateLevel
from esper_testing.watching.inspection import GlobalRandom, Inspection


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
        with self.inspection:
            generators = GlobalRandom()
        result = self.gate.evaluate(evidence)
        with self.inspection as inspection:
            if (wrong := self._wrong(result)) is not None:
                cause = "a verdict that is built from something that was not measured"
                fix = "return GateResult(gate=..., passed=bool(...), score=0.0 to 1.0, reason=...)"
                inspection.broken(self.title, wrong, cause=cause, fix=fix)
            generators.require_still(inspection, self.title, "judging a seed")
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
class InspectedTerm:
    """A reward term whose every value is looked at: a number within the bounds that its descriptor declares."""

    term: RewardTerm
    low: float
    high: float
    title: str
    inspection: Inspection

    def value(
        self, before: Evidence | None, after: Evidence, transitions: Sequence[Transition], twin: Evidence | None
    ) -> float:
        """Return the term's value."""
        with self.inspection:
            generators = GlobalRandom()
        value = self.term.value(before, after, transitions, twin)
        with self.inspection as inspection:
            if not isinstance(value, int | float) or not isfinite(value) or not self.low <= value <= self.high:
                inspection.broken(
                    self.title,
                    f"gave {value!r:.80}, and declares {self.low} to {self.high}",
                    cause="a figure that was not measured or is not limited, or a tensor in place of a number",
                    fix="give a neutral value for what is missing, and clamp",
                )
            generators.require_still(inspection, self.title, "computing a reward")
        return value


@frozen
class InspectedActor:
    """A policy whose every decision is looked at: an action for each host, within its masks."""

    actor: Actor
    title: str
    inspection: Inspection

    def reset(self, hosts: int) -> None:
        """Begin a round."""
        self.actor.reset(hosts)

    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        """Decide as the policy does."""
        with self.inspection:
            generators = GlobalRandom()
        actions = self.actor.decide(observations, masks)
        with self.inspection as inspection:
            self._require_actions(actions, masks)
            generators.require_still(inspection, self.title, "deciding")
        return actions

    def _require_actions(self, actions: Any, masks: Sequence[ActionMasks]) -> None:
        if not isinstance(actions, Sequence) or len(actions) != len(masks):
            seen = f"decided {actions!r:.80} for {len(masks)} hosts"
            self.inspection.broken(
                self.title, seen, cause="one action in place of a list", fix="return one for each host"
            )
        for action, mask in zip(actions, masks, strict=True):
            if not isinstance(action, Action) or not mask.allows(action):
                self.inspection.broken(
                    self.title,
                    f"asked for {_told(action)}, which the masks do not allow",
                    cause="a choice from all slots or blueprints, or a blend that is left out",
                    fix="choose from masks.slots_for(op), masks.blueprints_for(slot) and masks.blends",
                )


@frozen
class InspectedResumableActor(InspectedActor):
    """The same for a policy with a memory of its own."""

    def state(self) -> Mapping[str, Any]:
        """Return its memory, which must be plain data: a checkpoint holds it."""
        assert isinstance(self.actor, Resumable)
        state = self.actor.state()
        with self.inspection as inspection:
            try:
                to_json(state)
            except (TypeError, ValueError) as error:
                fix = "return numbers, text, lists and mappings"
                inspection.broken(self.title, f"has a state that is no plain data: {error}", cause="a tensor", fix=fix)
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        assert isinstance(self.actor, Resumable)
        self.actor.restore(state)


def inspected_actor(actor: Actor, title: str, inspection: Inspection) -> Actor:
    """Return the policy under inspection; it can be resumed if the policy can."""
    kind = InspectedResumableActor if isinstance(actor, Resumable) else InspectedActor
    return kind(actor, title, inspection)


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


def _told(action: Any) -> str:
    if not isinstance(action, Action):
        return f"{action!r:.80}"
    words = (action.op.name, action.blueprint, action.slot and f"in {action.slot}", action.blend)
    return " ".join(str(word) for word in words if word)
