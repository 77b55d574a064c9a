"""From what was measured to what a policy sees."""

from collections.abc import Mapping
from math import isfinite

from attrs import evolve

from esper_core.leyline.actions import Action, Verdict
from esper_core.leyline.evidence import Evidence, PairedDifference, SeedEvidence
from esper_core.leyline.observation import HostSignals, LearningCurves, Observation, SlotSignals, SlotState
from esper_core.leyline.reports import HostReport

#: What was asked of one host in its last epoch, each action with the governor's answer.
Answers = tuple[tuple[Action, Verdict], ...]


def observe(
    curves: LearningCurves,
    last: Evidence | None,
    report: HostReport,
    *,
    epochs: int,
    random_guess_loss: float | None = None,
    twin: Evidence | None = None,
    answers: Answers = (),
) -> Observation:
    """Build the observation for one decision. Total: every number in it is finite or None, whatever was measured.

    Args:
        curves: the host's losses and accuracies so far.
        last: the host's evidence of its last epoch; None before the first one.
        report: the host as it stands now, before its next epoch.
        epochs: length of the run.
        random_guess_loss: the loss of a model that knows nothing, in nats.
        twin: the twin's latest evidence; it counts only if it is of the same epoch as the host's.
        answers: what was asked for in the last epoch, and the governor's answers.
    """
    host = HostSignals(
        epoch=report.epoch,
        epochs=epochs,
        curves=curves,
        random_guess_loss=_finite(random_guess_loss),
        parameters=report.parameters,
        host_parameters=report.host_parameters,
        governor=report.governor,
        twin_validation_loss=_twin_loss(last, twin),
        compute=last.compute if last else None,
        budget_share=report.budget_share,
    )
    measured = {seed.slot: seed for seed in last.seeds} if last else {}
    answered = {action.slot: (action, verdict) for action, verdict in answers if action.slot is not None}
    return Observation(host=host, slots=tuple(_slot_signals(state, measured, answered) for state in report.states))


def _slot_signals(
    state: SlotState, measured: Mapping[str, SeedEvidence], answered: Mapping[str, tuple[Action, Verdict]]
) -> SlotSignals:
    evidence = measured.get(state.site.id)
    command, verdict = answered.get(state.site.id, (None, None))
    return SlotSignals(
        state=_finite_state(state),
        evidence=_finite_evidence(evidence) if evidence is not None and _same_seed(state, evidence) else None,
        command=command,
        verdict=verdict,
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


def _finite_state(state: SlotState) -> SlotState:
    verdict = state.next_gate
    if verdict is not None and not isfinite(verdict.score):
        state = evolve(state, next_gate=evolve(verdict, score=0.0))
    return state if isfinite(state.alpha) else evolve(state, alpha=0.0)


def _finite_evidence(measured: SeedEvidence) -> SeedEvidence:
    return evolve(
        measured,
        alpha=_finite(measured.alpha) or 0.0,
        gradient_ratio=_finite(measured.gradient_ratio),
        update_ratio=_finite(measured.update_ratio),
        probe=_finite_difference(measured.probe),
        contribution=_finite_difference(measured.contribution),
        host_gain=_finite_difference(measured.host_gain),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _finite_difference(value: PairedDifference | None) -> PairedDifference | None:
    return value if value is not None and value.finite else None
