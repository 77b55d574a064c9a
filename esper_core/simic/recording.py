"""Turning what happened in one step into telemetry."""

from collections.abc import Iterable

from esper_core.leyline.actions import Action, GovernorMode, Op, Transition
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.protocols import Services
from esper_core.leyline.records import plain
from esper_core.leyline.reports import ApplyReport, HostReport, RewardBreakdown


class Recorder:
    """Emits the events of one host.

    Args:
        host: the host's name in the run.
        services: where events go.
        number: of the round.
    """

    def __init__(self, host: str, services: Services, number: int = 0) -> None:
        self._host = host
        self._number = number
        self._services = services
        self._mode = GovernorMode.NORMAL

    def resume(self, mode: GovernorMode) -> None:
        """Go on where the governor is in this mode and has said so."""
        self._mode = mode

    def decided(self, epoch: int, action: Action, applied: ApplyReport) -> None:
        """An action, the governor's answer, and what the action did."""
        if action.op is not Op.WAIT or action.reason:
            self._emit(EventKind.ACTION_DECIDED, epoch, action)
        if not applied.verdict.allowed:
            self._emit(EventKind.ACTION_DENIED, epoch, applied.verdict)
        self._transitions(epoch, applied.transitions)

    def trained(self, epoch: int, report: HostReport) -> None:
        """An epoch and everything that came of it."""
        self._transitions(epoch, report.transitions)
        for ended in report.seed_reports:
            self._emit(EventKind.SEED_FINISHED, epoch, ended)
        if report.evidence is not None:
            seed_ids = {seed.slot: seed.seed_id for seed in report.evidence.seeds}
            for slot, results in report.evidence.gates.items():
                judged = {"slot": slot, "seed_id": seed_ids.get(slot), "results": results}
                self._emit(EventKind.GATES_EVALUATED, epoch, judged)
            slots = {state.site.id: state.stage for state in report.states}
            self._emit(EventKind.EPOCH_COMPLETED, epoch, {**plain(report.evidence), "slots": slots})
            self._services.epoch_end(self._host, report.evidence)
        for finding in report.findings:
            if finding.error:
                failed = {"plugin": finding.diagnostic, "place": "diagnostic", "error": finding.error}
                self._emit(EventKind.PLUGIN_FAILED, epoch, failed)
            else:
                self._emit(EventKind.DIAGNOSED, epoch, {"diagnostic": finding.diagnostic, "finding": finding.data})
        for notice in report.notices:
            event = notice if isinstance(notice, Event) else Event(kind=EventKind.NOTICE, data={"message": notice})
            self._emit(event.kind, epoch, event.data)
        if report.rollback is not None:
            slots = {state.site.id: state.stage for state in report.states}
            self._emit(EventKind.ROLLBACK, epoch, {**plain(report.rollback), "slots": slots})
        if report.governor is not self._mode:
            self._mode = report.governor
            reason = {"mode": report.governor, "reason": report.governor_reason}
            self._emit(EventKind.GOVERNOR_INTERVENED, epoch, reason)

    def rewarded(self, epoch: int, breakdown: RewardBreakdown) -> None:
        """The reward of the step."""
        self._emit(EventKind.REWARD_COMPUTED, epoch, {"terms": breakdown.terms, "total": breakdown.total})

    def _transitions(self, epoch: int, transitions: Iterable[Transition]) -> None:
        for transition in transitions:
            self._emit(EventKind.SEED_TRANSITION, epoch, transition)
            self._services.seed_transition(self._host, transition)

    def _emit(self, kind: EventKind | str, epoch: int, data: object) -> None:
        self._services.emit(Event(kind=kind, host=self._host, epoch=epoch, round=self._number, data=plain(data)))
