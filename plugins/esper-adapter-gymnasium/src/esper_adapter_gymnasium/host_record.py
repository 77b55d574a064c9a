"""One host of the table through an episode, as Esper's own records."""

from itertools import pairwise

from attrs import define, field

from esper_adapter_gymnasium.lifecycle import LocalState
from esper_adapter_gymnasium.model import Flags, Integers, Measured
from esper_adapter_gymnasium.records import Records
from esper_core.api import (
    Action,
    ActionMasks,
    Cause,
    Decision,
    Ended,
    Evidence,
    HostSignals,
    LearningCurves,
    Observation,
    Op,
    Situation,
    SlotSignals,
    SlotState,
    Stage,
    Step,
    Transition,
    Verdict,
)


@define
class HostRecord:
    """One host through an episode, as records.

    Attributes:
        name: its name.
        records: makes the records.
        epoch: the next one.
        curves: so far.
        last, twin: evidence of the epoch before, and the twin's.
        answers: what was asked of each slot in the epoch before.
    """

    name: str
    records: Records
    epoch: int = 0
    curves: LearningCurves = field(factory=LearningCurves)
    last: Evidence | None = None
    twin: Evidence | None = None
    answers: dict[str, Action] = field(factory=dict)

    def situation(self, local: Integers, before: Measured | None, row: int, possible: Flags) -> Situation:
        """Return what a policy is asked; `local`, (S,), are the states before the epoch."""
        table = self.records.model.table
        host = HostSignals(
            epoch=self.epoch,
            epochs=self.records.model.epochs,
            curves=self.curves,
            random_guess_loss=table.random_guess_loss,
            parameters=table.host_parameters + (0 if before is None else int(before.parameters[row])),
            host_parameters=table.host_parameters,
            twin_validation_loss=None if self.twin is None else self.twin.validation.loss,
        )
        masks = self.records.masks(possible)
        slots = tuple(self._signals(slot, int(it), before, row, masks) for slot, it in enumerate(local))
        return Situation(host=self.name, observation=Observation(host=host, slots=slots), masks=masks)

    def _signals(self, slot: int, number: int, before: Measured | None, row: int, masks: ActionMasks) -> SlotSignals:
        name = self.records.model.table.slots[slot]
        command = self.answers.get(name)
        return SlotSignals(
            state=self.records.slot_state(
                slot,
                number,
                may_fossilize=name in masks.fossilize,
                harmful=before is not None and bool(before.harmful[row, slot]),
            ),
            evidence=None if before is None else self.records.seed_evidence(slot, number, before, row),
            command=command,
            verdict=None if command is None else Verdict(action_id="", allowed=True),
        )

    def step(
        self, situation: Situation, decision: Decision, local: Integers, measured: Measured, row: int, gamma: float
    ) -> Step:
        """Return the step of an epoch, and go on to the next one; `local`, (S,), are the states after it."""
        model = self.records.model
        after = self.records.evidence(self.name, self.epoch, local, measured, row)
        twin = self.records.twin(self.epoch)
        step = Step(
            host=self.name,
            epoch=self.epoch,
            epochs=model.epochs,
            gamma=gamma,
            observation=situation.observation,
            masks=situation.masks,
            decision=decision,
            verdicts=tuple(Verdict(action_id=action.id, allowed=True) for action in decision.actions),
            before=self.last,
            after=after,
            twin_before=self.twin,
            twin=twin,
            transitions=tuple(self._transitions(situation, decision, local)),
            ended=Ended.TRUNCATED if self.epoch + 1 >= model.epochs else Ended.NONE,
        )
        self.curves = self.curves.after(after.train, after.validation)
        self.last, self.twin, self.epoch = after, twin, self.epoch + 1
        self.answers = {it.slot: it for it in decision.actions if it.slot is not None}
        return step

    def _transitions(self, situation: Situation, decision: Decision, local: Integers) -> list[Transition]:
        found, asked = [], {it.slot: it.op for it in decision.actions if it.op is not Op.WAIT}
        for signals, number in zip(situation.observation.slots, local, strict=True):
            before, after = signals.state, self.records.model.states.every[int(number)]
            op, path = asked.get(signals.slot), [before.stage, after.stage]
            if op is Op.GERMINATE and after.stage is Stage.TRAINING:
                path.insert(1, Stage.GERMINATED)
            if before.stage is after.stage:
                continue
            for first, (source, target) in enumerate(pairwise(path)):
                cause = Cause.ACTION if op is not None and first == 0 else _cause(before, target)
                blueprint = before.blueprint or self._name(after)
                found.append(
                    Transition(
                        slot=signals.slot,
                        seed_id="",
                        blueprint=blueprint,
                        source=source,
                        target=target,
                        epoch=self.epoch,
                        epochs_in_source=before.epochs_in_stage,
                        cause=cause,
                    )
                )
        return found

    def _name(self, state: LocalState) -> str:
        return self.records.model.table.blueprints[state.blueprint - 1] if state.blueprint else ""


def _cause(before: SlotState, target: Stage) -> Cause:
    if target is Stage.CULLED:
        return Cause.SAFETY if before.harmful else Cause.TIMEOUT
    return Cause.COOLDOWN if target in (Stage.EMBARGOED, Stage.RESETTING, Stage.DORMANT) else Cause.GATE
