"""The risk of one host, as its run sees it: a mode of its own, quotas, and what its policy thinks of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, evolve, field, frozen

from esper_app.configuration.config import GovernorConfig
from esper_app.execution.risk.figures import PolicyFigures
from esper_app.execution.risk.quotas import germinations_left, objection, quota, within
from esper_core.leyline.actions import Action, ActionMasks, GovernorMode, Op, Verdict
from esper_core.leyline.protocols import Evaluator
from esper_core.leyline.reports import ApplyReport, HostReport
from esper_core.leyline.structure import structure
from esper_core.leyline.vital_signs import VitalSigns, Vote
from esper_core.tolaria.governor import Governor


@define
class _AskedByTheRun:
    """An evaluator that is shown what the run knows beside the vital signs."""

    evaluator: Evaluator
    known: Mapping[str, float] = field(factory=dict)

    def evaluate(self, signs: VitalSigns) -> Vote:
        return self.evaluator.evaluate(evolve(signs, run=self.known))


@frozen
class _Saved:
    """What of it is saved with the host."""

    governor: Mapping[str, Any]
    germinated: list[int]
    errors: list[float]
    full: bool


@define
class HostRisk:
    """What the run thinks of one host.

    Attributes:
        rules: quotas, and the epochs until a mode is normal again.
        governor: the run's; it has the rules of the host's own, and never rolls back.
        policy: what the policy has shown of itself.
        last: how the host stood last, by itself.
        germinated: the epochs before which there were germinations, as far as they still count.
        given: commands in the present epoch that were no culls.
        full: the quota of germinations is used up, and that has been said.
        notices: what is said with the next report.
    """

    rules: GovernorConfig
    governor: Governor
    policy: PolicyFigures
    last: HostReport
    germinated: list[int] = field(factory=list)
    given: int = 0
    full: bool = False
    notices: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        report: HostReport,
        rules: GovernorConfig,
        evaluators: Mapping[str, Evaluator],
        *,
        random_guess_loss: float,
        gamma: float,
    ) -> "HostRisk":
        """Begin with a host that has just been built."""
        asked = {name: _AskedByTheRun(it) for name, it in evaluators.items()}
        governor = Governor(random_guess_loss, asked, evolve(rules, max_rollbacks=0))
        return cls(rules=rules, governor=governor, policy=PolicyFigures(gamma), last=report)

    def observe(self, report: HostReport, known: Mapping[str, float]) -> None:
        """Take in what came of an epoch. A host that does not go on as it stands is its own governor's matter."""
        self.last, self.given = report, 0
        if report.rollback is not None:
            self.policy.forget()
        elif report.evidence is not None and report.governor is not GovernorMode.STOPPED:
            for evaluator in self.governor.evaluators.values():
                assert isinstance(evaluator, _AskedByTheRun)
                evaluator.known = {**known, **self.policy.by_name()}
            self.governor.observe(report.evidence)
        self.germinated = within(self.rules, self.germinated, report.epoch)
        full = germinations_left(self.rules, self.germinated, report.epoch) == 0
        self.notices = ()
        if full is not self.full:
            self.notices = (f"{quota(self.rules)} is {'used up' if full else 'refilled'}",)
        self.full = full

    def review(self, action: Action) -> str:
        """Say why an action is denied; "" if it is not. What it lets through counts."""
        if why := self.governor.review(action, _allowing(action)).reason:
            return why
        epoch = self.last.epoch
        why = objection(self.rules, action, germinated=self.germinated, epoch=epoch, given=self.given)
        self.given += not why and action.op not in (Op.WAIT, Op.CULL)
        return why

    def applied(self, actions: Sequence[Action], results: Sequence[ApplyReport]) -> None:
        """Count the germinations that the host has let through."""
        done = [it.op for it, result in zip(actions, results, strict=True) if result.verdict.allowed]
        self.germinated += [self.last.epoch] * done.count(Op.GERMINATE)

    def shown(self, stopped: str) -> HostReport:
        """Return the host's report with what the run allows.

        Args:
            stopped: why the run stops all of its hosts; "" if it does not.
        """
        report, mode, why = self.last, self.governor.mode, self.governor.reason
        if stopped:
            mode, why = GovernorMode.STOPPED, stopped
        strictness, masks = [*GovernorMode].index, report.masks
        if mode is not GovernorMode.NORMAL or self.full:
            masks = evolve(masks, germinate={})
        if mode is GovernorMode.STOPPED:
            masks = evolve(masks, fossilize=frozenset())
        reasons = [it for it in (report.governor_reason, why) if it]
        return evolve(
            report,
            governor=max(mode, report.governor, key=strictness),
            governor_reason="; ".join(reasons),
            masks=masks,
            notices=(*report.notices, *self.notices),
        )

    def record(self) -> dict[str, Any]:
        """Return what is saved with the host, as plain data."""
        errors = list(self.policy.errors)
        return {
            "governor": self.governor.record(),
            "germinated": list(self.germinated),
            "errors": errors,
            "full": self.full,
        }

    def restore(self, record: Mapping[str, Any], report: HostReport) -> None:
        """Go on from what was saved with a host; its report is of the host as it was restored."""
        saved = structure(_Saved, dict(record))
        self.governor.restore(saved.governor)
        self.germinated, self.policy.errors, self.full = saved.germinated, saved.errors, saved.full
        self.policy.forget()
        self.last, self.given, self.notices = report, 0, ()


def _allowing(action: Action) -> ActionMasks:
    """What is possible now is the host's matter; which actions a mode allows is the run's."""
    slot, blueprint = frozenset({action.slot or ""}), action.blueprint or ""
    return ActionMasks(
        slots=(*slot,),
        blueprints=(blueprint,),
        germinate={action.slot or "": frozenset({blueprint})},
        cull=slot,
        fossilize=slot,
    )


def denied(action: Action, why: str) -> ApplyReport:
    """Return what comes of an action that the run does not let through."""
    return ApplyReport(verdict=Verdict(action_id=action.id, allowed=False, reason=why))
