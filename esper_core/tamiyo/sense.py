"""From what was measured to what a policy sees."""

from collections.abc import Sequence
from math import isfinite

from esper_core.leyline.evidence import EpochMetrics, Evidence, PairedDifference, SeedEvidence
from esper_core.leyline.observation import HostSignals, Observation, SlotSignals, SlotState
from esper_core.leyline.reports import HostReport


def observe(
    history: Sequence[Evidence],
    report: HostReport,
    *,
    epochs: int,
    random_guess_loss: float | None = None,
    twin: Evidence | None = None,
) -> Observation:
    """Build the observation for one decision. Total: every number in it is finite or None, whatever was measured.

    Args:
        history: the host's evidence, one record per epoch, oldest first; empty before the first epoch.
        report: the host as it stands now, before its next epoch.
        epochs: length of the run.
        random_guess_loss: the loss of a model that knows nothing, in nats.
        twin: the twin's latest evidence; it counts only if it is of the same epoch as the host's.
    """
    last = history[-1] if history else None
    host = HostSignals(
        epoch=report.epoch,
        epochs=epochs,
        train_loss=_finite(last.train.loss) if last else None,
        validation_loss=_finite(last.validation.loss) if last else None,
        train_accuracy=_finite(last.train.accuracy) if last else None,
        validation_accuracy=_finite(last.validation.accuracy) if last else None,
        random_guess_loss=_finite(random_guess_loss),
        train_losses=_losses([evidence.train for evidence in history]),
        validation_losses=_losses([evidence.validation for evidence in history]),
        train_accuracies=_accuracies([evidence.train for evidence in history]),
        validation_accuracies=_accuracies([evidence.validation for evidence in history]),
        parameters=report.parameters,
        host_parameters=report.host_parameters,
        governor=report.governor,
        twin_validation_loss=_twin_loss(last, twin),
    )
    measured = {seed.slot: seed for seed in last.seeds} if last else {}
    return Observation(
        host=host, slots=tuple(_slot_signals(state, measured.get(state.site.id)) for state in report.states)
    )


def _slot_signals(state: SlotState, measured: SeedEvidence | None) -> SlotSignals:
    if measured is not None and not _same_seed(state, measured):
        measured = None
    verdict = state.next_gate
    return SlotSignals(
        slot=state.site.id,
        layout=state.site.layout,
        width=state.site.width,
        depth=state.site.depth,
        causal=state.site.causal,
        stage=state.stage,
        epochs_in_stage=state.epochs_in_stage,
        blueprint=state.blueprint,
        age_epochs=state.age_epochs,
        blend=state.blend,
        ramp_epochs=state.ramp_epochs,
        alpha=_finite(state.alpha) or 0.0,
        parameters=state.parameters,
        gradient_ratio=_finite(measured.gradient_ratio) if measured else None,
        update_ratio=_finite(measured.update_ratio) if measured else None,
        probe=_finite_difference(measured.probe) if measured else None,
        contribution=_finite_difference(measured.contribution) if measured else None,
        settled_epochs=state.settled_epochs,
        next_gate_passed=verdict.passed if verdict else None,
        next_gate_score=_finite(verdict.score) if verdict else None,
        harmful=state.harmful,
        culled_blueprints=state.culled_blueprints,
    )


def _same_seed(state: SlotState, measured: SeedEvidence) -> bool:
    """Say whether the slot still holds the seed that was measured: a newer one is younger than the evidence."""
    return (
        state.stage.holds_module and state.blueprint == measured.blueprint and measured.age_epochs <= state.age_epochs
    )


def _twin_loss(last: Evidence | None, twin: Evidence | None) -> float | None:
    if last is None or twin is None or twin.epoch != last.epoch:
        return None
    return _finite(twin.validation.loss)


def _losses(metrics: Sequence[EpochMetrics]) -> tuple[float | None, ...]:
    return tuple(_finite(m.loss) for m in metrics)


def _accuracies(metrics: Sequence[EpochMetrics]) -> tuple[float | None, ...]:
    return tuple(_finite(m.accuracy) for m in metrics)


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _finite_difference(value: PairedDifference | None) -> PairedDifference | None:
    return value if value is not None and value.finite else None
