"""How a host stands, for those who watch it from another process."""

from datetime import datetime
from math import isfinite

from attrs import evolve, frozen

from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.evidence import (
    UNKNOWN_COMPUTE,
    Compute,
    EpochMetrics,
    GateResult,
    PairedDifference,
    SeedEvidence,
)
from esper_core.leyline.observation import SlotState
from esper_core.leyline.reports import HostReport
from esper_core.leyline.stages import Stage


@frozen(kw_only=True)
class HardwareContext:
    """The device that a host is trained on, as it was read after an epoch; None: not known.

    Attributes:
        device_type: as torch names it.
        device_id: which of several.
        total_memory_bytes, available_memory_bytes: of the device.
        temperature_celsius: of the device.
        utilization: 0 to 1.
    """

    device_type: str
    device_id: str | None = None
    total_memory_bytes: int | None = None
    available_memory_bytes: int | None = None
    temperature_celsius: float | None = None
    utilization: float | None = None


@frozen(kw_only=True)
class SeedState:
    """One slot and the seed in it, after an epoch. A figure that was not measured, or is not finite, is None.

    Attributes:
        slot: site id.
        stage, epochs_in_stage, alpha, parameters, age_epochs, next_gate, may_fossilize, harmful: as in `SlotState`.
        depth: 0 to 1, the place of its site in the host.
        blueprint: catalogue name; None without a seed.
        seed_id, gradient_norm, gradient_ratio, update_ratio, probe, contribution: as in `SeedEvidence`.
    """

    slot: str
    stage: Stage
    epochs_in_stage: int
    depth: float
    alpha: float
    parameters: int
    age_epochs: int
    blueprint: str | None = None
    seed_id: str | None = None
    gradient_norm: float | None = None
    gradient_ratio: float | None = None
    update_ratio: float | None = None
    probe: PairedDifference | None = None
    contribution: PairedDifference | None = None
    next_gate: GateResult | None = None
    may_fossilize: bool = False
    harmful: bool = False


@frozen(kw_only=True)
class SystemStatePacket:
    """How a host stands after an epoch, or before its first one: one packet for each host and epoch.

    Attributes:
        id: unique among all packets.
        run: the run's name.
        host: its name in the run.
        round: number of the round, from 0.
        epoch: the next epoch, from 0.
        issued_at: with a time zone.
        governor, governor_reason, parameters, host_parameters, failure: as in `HostReport`.
        train, validation, learning_rate, compute: as in `Evidence`; None before the first epoch.
        seeds: every slot, in site order.
        hardware: the device; None where nothing reads it.
    """

    id: str
    run: str
    host: str
    round: int
    epoch: int
    issued_at: datetime
    governor: GovernorMode
    governor_reason: str = ""
    parameters: int
    host_parameters: int
    train: EpochMetrics | None = None
    validation: EpochMetrics | None = None
    learning_rate: float | None = None
    compute: Compute = UNKNOWN_COMPUTE
    seeds: tuple[SeedState, ...] = ()
    hardware: HardwareContext | None = None
    failure: str | None = None


def state_packet(
    report: HostReport,
    *,
    id: str,
    run: str,
    round: int,
    issued_at: datetime,
    hardware: HardwareContext | None = None,
) -> SystemStatePacket:
    """Return what a host's report says of how it stands. Evidence is of the seeds that the slots still hold."""
    evidence = report.evidence
    measured = {seed.slot: seed for seed in evidence.seeds} if evidence is not None else {}
    return SystemStatePacket(
        id=id,
        run=run,
        host=report.host,
        round=round,
        epoch=report.epoch,
        issued_at=issued_at,
        governor=report.governor,
        governor_reason=report.governor_reason,
        parameters=report.parameters,
        host_parameters=report.host_parameters,
        train=None if evidence is None else evidence.train,
        validation=None if evidence is None else evidence.validation,
        learning_rate=None if evidence is None else _finite(evidence.learning_rate),
        compute=UNKNOWN_COMPUTE if evidence is None else evidence.compute,
        seeds=tuple(_seed_state(slot, measured.get(slot.site.id)) for slot in report.states),
        hardware=hardware,
        failure=report.failure,
    )


def _seed_state(slot: SlotState, seed: SeedEvidence | None) -> SeedState:
    state = SeedState(
        slot=slot.site.id,
        stage=slot.stage,
        epochs_in_stage=slot.epochs_in_stage,
        depth=slot.site.depth,
        alpha=slot.alpha,
        parameters=slot.parameters,
        age_epochs=slot.age_epochs,
        blueprint=slot.blueprint,
        next_gate=slot.next_gate,
        may_fossilize=slot.may_fossilize,
        harmful=slot.harmful,
    )
    if seed is None or not slot.stage.holds_module or seed.blueprint != slot.blueprint:
        return state
    return evolve(
        state,
        seed_id=seed.seed_id,
        gradient_norm=_finite(seed.gradient_norm),
        gradient_ratio=_finite(seed.gradient_ratio),
        update_ratio=_finite(seed.update_ratio),
        probe=_finite_difference(seed.probe),
        contribution=_finite_difference(seed.contribution),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _finite_difference(value: PairedDifference | None) -> PairedDifference | None:
    return value if value is not None and value.finite else None
