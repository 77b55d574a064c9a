"""Tell plugins what happens in a run. Nothing that they raise reaches the training."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.plugins.calling import Implementation
from esper_core.plugins.records import Origin

if TYPE_CHECKING:
    from esper_core.leyline.actions import Transition
    from esper_core.leyline.evidence import Evidence


@frozen
class Observers:
    """The observer hooks of the plugins that may observe a run, in call order.

    Attributes:
        implementations: by the hook's name.
        report: is told of every failure; it may raise to end the run.
        take: is given what an observer returns, with its plugin and the host that it was told of; what it raises is a
            failure of the observer.
        failures: number of failures by plugin, for the manifest.
    """

    implementations: Mapping[str, tuple[Implementation, ...]]
    report: Callable[[EsperError], None]
    take: Callable[[Origin, str, Any], None] = lambda origin, host, told: None
    failures: Counter[str] = field(factory=Counter, init=False)

    def run_start(self, manifest: Mapping[str, Any]) -> None:
        """A run begins."""
        self._tell("esper_run_start", manifest=manifest)

    def epoch_end(self, host: str, evidence: "Evidence") -> None:
        """A host has finished an epoch."""
        self._tell("esper_epoch_end", host=host, evidence=evidence)

    def seed_transition(self, host: str, transition: "Transition") -> None:
        """A seed has changed its stage."""
        self._tell("esper_seed_transition", host=host, transition=transition)

    def run_finish(self, result: Mapping[str, Any]) -> None:
        """A run is over. Every implementation is called.

        Raises:
            ExceptionGroup: with an E141 for each that raised.
        """
        if errors := list(self._failures_of("esper_run_finish", result=result)):
            raise ExceptionGroup("plugins failed at the end of the run", errors)

    def _tell(self, hook: str, **arguments: Any) -> None:
        for error in self._failures_of(hook, **arguments):
            self.report(error)

    def _failures_of(self, hook: str, **arguments: Any) -> Iterable[EsperError]:
        for implementation in self.implementations.get(hook, ()):
            try:
                if (told := implementation(**arguments)) is not None:
                    self.take(implementation.origin, arguments.get("host", ""), told)
            except EsperError as error:
                self.failures[implementation.origin.plugin] += 1
                yield error
