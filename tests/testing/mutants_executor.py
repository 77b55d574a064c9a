"""Wrong executors, one for each check."""

import random
from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen

from esper_core.api import EsperError, GovernorMode, HostState
from esper_core.specs import ExecutorSpec
from esper_executor_processes.config import ProcessesConfig
from esper_executor_processes.executor import ProcessesExecutor
from esper_executor_serial.executor import SerialExecutor
from esper_testing.executor_subject import ExecutorSubject


class ReportsInReverse(SerialExecutor):
    def epoch(self, references: Sequence[Any]) -> list[Any]:
        return super().epoch(references)[::-1]


class AnswersTheFirst(SerialExecutor):
    def apply(self, actions: Sequence[Any]) -> list[Any]:
        return [super(AnswersTheFirst, self).apply(actions)[0] for _ in actions]


class OneReferenceForAll(SerialExecutor):
    def epoch(self, references: Sequence[Any]) -> list[Any]:
        return super().epoch([references[0]] * len(references))


class LosesActions(SerialExecutor):
    def apply(self, actions: Sequence[Any]) -> list[Any]:
        return super().apply([asked[:1] for asked in actions])


class ForgetsReports(SerialExecutor):
    def reports(self) -> list[Any]:
        return [evolve(report, evidence=None) for report in super().reports()]


class RestoresTheFirst(SerialExecutor):
    def restore(self, states: Sequence[HostState]) -> list[Any]:
        return super().restore([states[0]] * len(states))


class SwallowsStates(SerialExecutor):
    def restore(self, states: Sequence[HostState]) -> list[Any]:
        try:
            return super().restore(states)
        except EsperError:
            return self.reports()


class RaisesWithTheHost(SerialExecutor):
    def epoch(self, references: Sequence[Any]) -> list[Any]:
        found = super().epoch(references)
        for report in found:
            if report.cause is not None:
                raise report.cause
        return found


class GivesNoReason(SerialExecutor):
    def reports(self) -> list[Any]:
        return [evolve(report, failure=report.failure and "failed") for report in super().reports()]


class GoesOnWithTheFailed(SerialExecutor):
    def reports(self) -> list[Any]:
        return [evolve(report, governor=GovernorMode.NORMAL) for report in super().reports()]


class ForgetsFailures(SerialExecutor):
    def restore(self, states: Sequence[HostState]) -> list[Any]:
        return [evolve(report, failure=None) for report in super().restore(states)]


class OpensWhatItCan(SerialExecutor):
    def open(self, plans: Sequence[Any]) -> list[Any]:
        try:
            return super().open(plans)
        except EsperError:
            return super().open(plans[:1])


class ClosesOnce(SerialExecutor):
    def close(self) -> None:
        del self._runners


class SharesActions(SerialExecutor):
    def apply(self, actions: Sequence[Any]) -> list[Any]:
        found = super().apply(actions)
        for asked in actions:
            asked.clear()
        return found


class DrawsLate(SerialExecutor):
    epochs = 0

    def epoch(self, references: Sequence[Any]) -> list[Any]:
        self.epochs += 1
        if self.epochs > 40:
            random.random()
        return super().epoch(references)


class KeepsReports(SerialExecutor):
    def epoch(self, references: Sequence[Any]) -> list[Any]:
        vars(self).setdefault("history", []).append(found := super().epoch(references))
        return found


class OrdersBySet(SerialExecutor):
    def reports(self) -> list[Any]:
        found = {report.host: report for report in super().reports()}
        return [found[name] for name in {*found}]


class InProcesses(ProcessesExecutor):
    def __init__(self, config: None, build: Any) -> None:
        super().__init__(ProcessesConfig(), build)


class StartsAgainInSilence(InProcesses):
    def epoch(self, references: Sequence[Any]) -> list[Any]:
        return [evolve(report, notices=()) for report in super().epoch(references)]


class StartsAgainFromTheBeginning(InProcesses):
    def _lost(self, host: Any, why: str) -> None:
        super()._lost(host, why)
        host.forget()


class IsItsOwnSibling(SerialExecutor):
    def sibling(self) -> Any:
        return self


@frozen(kw_only=True)
class Options:
    """Of an executor that does not read them."""

    workers: int = 1


class HasNoWorkers(SerialExecutor):
    def __init__(self, config: Options, build: Any) -> None:
        super().__init__(None, build)


def subject(factory: Any) -> ExecutorSubject:
    return ExecutorSubject(spec=ExecutorSpec(name="mutant", summary="Wrong.", factory=factory))


RIGHT = [subject(SerialExecutor)]

MUTANTS = {
    "executor-order": [
        (subject(ReportsInReverse), "`epoch` is for"),
        (subject(AnswersTheFirst), "`apply` answers to"),
    ],
    "executor-alike": [
        (subject(OneReferenceForAll), "is not as it is alone"),
        (subject(LosesActions), "is not as it is alone"),
    ],
    "executor-reports-again": [(subject(ForgetsReports), "others when they are asked for again")],
    "executor-resumes": [(subject(RestoresTheFirst), "a new executor goes on otherwise")],
    "executor-refuses-states": [(subject(SwallowsStates), "taken without a word")],
    "executor-failure": [
        (subject(RaisesWithTheHost), "planned to fail in apply"),
        (subject(GivesNoReason), "the report gives 'failed'"),
        (subject(GoesOnWithTheFailed), "a failed host is not stopped"),
    ],
    "executor-failure-saved": [(subject(ForgetsFailures), "with the reason None")],
    "executor-build-error": [(subject(OpensWhatItCan), "was opened")],
    "executor-lost-process": [
        (subject(StartsAgainInSilence), "nothing is said"),
        (subject(StartsAgainFromTheBeginning), "is not as it is alone"),
    ],
    "executor-siblings": [(subject(IsItsOwnSibling), "their hosts stand before epochs")],
    "executor-close": [(subject(ClosesOnce), "AttributeError")],
    "component-input-untouched": [(subject(SharesActions), "have changed")],
    "component-many-calls": [(subject(DrawsLate), "changed random's global generator")],
    "component-memory": [(subject(KeepsReports), "bytes more with each use")],
    "component-processes": [(subject(OrdersBySet), "in two processes")],
    "component-options-used": [
        (
            ExecutorSubject(spec=ExecutorSpec(name="mutant", summary="Wrong.", factory=HasNoWorkers, config=Options)),
            "nobody reads the option workers",
        )
    ],
}
