"""The table as Esper's own records: what a policy is asked, and the steps that it learns from."""

import json
from functools import cached_property

import numpy as np
from attrs import field, frozen

from esper_adapter_gymnasium.lifecycle import BLENDING_EPOCHS, RAMP_EPOCHS, LocalState
from esper_adapter_gymnasium.model import Flags, GrowthModel, Integers, Measured
from esper_core.api import (
    Action,
    ActionMasks,
    Blend,
    Catalogue,
    CatalogueEntry,
    EpochMetrics,
    Evidence,
    Layout,
    Op,
    PairedDifference,
    SeedEvidence,
    Site,
    SlotState,
    Stage,
)

#: The one blend of the table: it does not know how others differ.
BLEND = Blend.LINEAR

_PREVIOUS = {
    Stage.GERMINATED: Stage.DORMANT,
    Stage.TRAINING: Stage.GERMINATED,
    Stage.BLENDING: Stage.TRAINING,
    Stage.PROBATIONARY: Stage.BLENDING,
    Stage.FOSSILIZED: Stage.PROBATIONARY,
    Stage.EMBARGOED: Stage.CULLED,
    Stage.RESETTING: Stage.EMBARGOED,
}


def catalogue(model: GrowthModel) -> Catalogue:
    """Return the table's blueprints as a run's catalogue: a policy trained on the table fits a run with the same."""
    table = model.table
    return Catalogue(
        tuple(
            CatalogueEntry(name=name, layouts=frozenset({Layout.NCHW}), options=json.loads(options))
            for name, options in zip(table.blueprints, table.options, strict=True)
        )
    )


@frozen(eq=False)
class Records:
    """Makes records of a surrogate's states."""

    model: GrowthModel
    # Frozen records that come again and again are made once.
    _states: dict[tuple[int, int, bool, bool], SlotState] = field(init=False, factory=dict)
    _masks: dict[bytes, ActionMasks] = field(init=False, factory=dict)
    _twins: dict[int, Evidence] = field(init=False, factory=dict)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """The sites of the slots."""
        table = self.model.table
        return tuple(
            Site(
                id=name,
                path=f"blocks.{index}",
                layout=Layout.NCHW,
                width=int(table.widths[index]),
                sample_shape=(),
                order=index,
                depth=(index + 1) / len(table.slots),
            )
            for index, name in enumerate(table.slots)
        )

    def slot_state(self, slot: int, number: int, *, may_fossilize: bool = False, harmful: bool = False) -> SlotState:
        """Return a slot in one of its local states."""
        key = (slot, number, may_fossilize, harmful)
        if key not in self._states:
            self._states[key] = self._slot_state(slot, number, may_fossilize, harmful)
        return self._states[key]

    def _slot_state(self, slot: int, number: int, may_fossilize: bool, harmful: bool) -> SlotState:
        state, table = self.model.states.every[number], self.model.table
        kept = state.stage.holds_module
        has_module = bool(self.model.states.holds_module[number])
        return SlotState(
            site=self.sites[slot],
            stage=state.stage,
            previous_stage=_PREVIOUS.get(state.stage, Stage.DORMANT),
            epochs_in_stage=state.epochs,
            blueprint=table.blueprints[state.blueprint - 1] if kept else None,
            age_epochs=state.age,
            blend=BLEND if kept else None,
            ramp_epochs=RAMP_EPOCHS if kept else None,
            alpha=_alpha(state),
            parameters=int(table.parameters[slot, state.blueprint]) if has_module else 0,
            settled_epochs=_settled(state),
            may_fossilize=may_fossilize,
            harmful=harmful,
        )

    def seed_evidence(self, slot: int, number: int, measured: Measured, row: int) -> SeedEvidence | None:
        """Return what was measured of a slot's seed; None where there is none."""
        if not self.model.states.holds_module[number]:
            return None
        state, known = self.slot_state(slot, number), bool(measured.contributes[row, slot])
        mean, error = float(measured.contribution[row, slot]), float(measured.error[row, slot])
        samples = self.model.table.samples
        return SeedEvidence(
            slot=state.site.id,
            seed_id="",
            blueprint=state.blueprint or "",
            stage=state.stage,
            epochs_in_stage=state.epochs_in_stage,
            age_epochs=state.age_epochs,
            alpha=state.alpha,
            parameters=state.parameters,
            contribution=PairedDifference(mean=mean, standard_error=error, count=samples) if known else None,
        )

    def evidence(self, host: str, epoch: int, local: Integers, measured: Measured, row: int) -> Evidence:
        """Return the evidence of an epoch; `local`, (S,), are the states after it."""
        table = self.model.table
        seeds = [self.seed_evidence(slot, int(number), measured, row) for slot, number in enumerate(local)]
        return Evidence(
            host=host,
            epoch=epoch,
            train=EpochMetrics(
                loss=float(measured.train_loss[row]), accuracy=float(measured.train_accuracy[row]), samples=0
            ),
            validation=EpochMetrics(
                loss=float(measured.loss[row]), accuracy=float(measured.accuracy[row]), samples=table.samples
            ),
            seeds=tuple(seed for seed in seeds if seed is not None),
            parameters=table.host_parameters + int(measured.parameters[row]),
            host_parameters=table.host_parameters,
            forward_flops=table.host_flops + int(measured.flops[row]),
        )

    def twin(self, epoch: int) -> Evidence:
        """Return the evidence of the bare host."""
        if epoch not in self._twins:
            bare = np.zeros((1, self.model.slots), dtype=np.int64)
            self._twins[epoch] = self.evidence("twin", epoch, bare[0], self.model.measure(epoch, bare), 0)
        return self._twins[epoch]

    def masks(self, possible: Flags) -> ActionMasks:
        """Return the masks of a host for which these actions, (A,), are possible."""
        key = possible.tobytes()
        if key not in self._masks:
            self._masks[key] = self._of(possible)
        return self._masks[key]

    def _of(self, possible: Flags) -> ActionMasks:
        table, germinate = self.model.table, {}
        chosen = [action for action, allowed in zip(self.model.actions, possible, strict=True) if allowed]
        for slot, name in enumerate(table.slots):
            fitting = [blueprint for op, at, blueprint in chosen if op is Op.GERMINATE and at == slot]
            if fitting:
                germinate[name] = frozenset(table.blueprints[it - 1] for it in fitting)
        return ActionMasks(
            slots=table.slots,
            blueprints=table.blueprints,
            germinate=germinate,
            cull=frozenset(table.slots[slot] for op, slot, _ in chosen if op is Op.CULL),
            fossilize=frozenset(table.slots[slot] for op, slot, _ in chosen if op is Op.FOSSILIZE),
            blends=(BLEND,),
        )

    def action(self, number: int) -> Action:
        """Return one of the model's actions."""
        op, slot, blueprint = self.model.actions[number]
        if op is Op.WAIT:
            return Action()
        name = self.model.table.slots[slot]
        if op is not Op.GERMINATE:
            return Action(op=op, slot=name)
        return Action(op=op, slot=name, blueprint=self.model.table.blueprints[blueprint - 1], blend=BLEND)

    def number(self, action: Action) -> int:
        """Return the number of an action."""
        table = self.model.table
        slot = table.slots.index(action.slot) if action.slot is not None else 0
        blueprint = table.blueprints.index(action.blueprint) + 1 if action.blueprint is not None else 0
        return self.model.actions.index((action.op, slot, blueprint))


def _alpha(state: LocalState) -> float:
    if state.stage is Stage.BLENDING:
        return min(1.0, state.epochs / RAMP_EPOCHS)
    return float(state.stage in (Stage.PROBATIONARY, Stage.FOSSILIZED))


def _settled(state: LocalState) -> int:
    if state.stage is Stage.PROBATIONARY:
        return BLENDING_EPOCHS - RAMP_EPOCHS + state.epochs
    if state.stage is Stage.BLENDING:
        return max(0, state.epochs - RAMP_EPOCHS)
    return state.age - RAMP_EPOCHS - 1 if state.stage is Stage.FOSSILIZED else 0
