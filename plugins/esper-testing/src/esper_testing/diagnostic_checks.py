"""What a diagnostic must do: look into any network, say what it found, and leave no trace."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import attrs
from attrs import frozen

from esper_core.leyline.diagnostics import Diagnostic, NetworkView
from esper_core.leyline.records import plain
from esper_core.leyline.specs import Capability, DiagnosticSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.subject import Subject
from esper_testing.surroundings import watched
from esper_testing.usage import Usage

CONTRACT = CheckLevel.CONTRACT


@frozen(kw_only=True)
class DiagnosticSubject(Subject[DiagnosticSpec]):
    """What the checks of diagnostics look at."""

    uses: ClassVar[int] = 60

    def build(self) -> Diagnostic:
        """Return a new diagnostic."""
        diagnostic: Diagnostic = self.factory(self.config)
        return diagnostic

    def build_any(self) -> None:
        """Build one diagnostic."""
        self.build()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Look into small networks."""
        diagnostic, views = self.build(), [make() for make in self.views().values()]
        handed = [it for view in views for it in (view.inputs, view.targets, view.slots)]
        yield Usage(use=lambda: [self.found(diagnostic, view) for view in views], handed=handed)

    def found(self, diagnostic: Diagnostic, view: NetworkView) -> Any:
        """Return what is compared of a finding: of one of the machine, what it says, but not the numbers."""
        found = _examined(diagnostic, view)
        if Capability.MEASURES_MACHINE not in self.spec.capabilities or found is None:
            return found
        return {name: type(value).__name__ for name, value in plain(found).items()}

    def views(self) -> Mapping[str, Callable[[], NetworkView]]:
        """Return what makes views of small trained networks, by what is special about each."""
        # Imported here: a list of the checks need not wait for torch.
        from esper_testing import diagnosed_networks as networks

        return {"images": networks.images, "tokens": networks.tokens, "numbers that are not finite": networks.broken}


@check("diagnostic-finds", DiagnosticSpec.kind, CONTRACT)
def finds(subject: DiagnosticSubject) -> None:
    """It looks into networks of images and of tokens, also of weights that are not finite, and returns a typed finding.

    A finding is an instance of an attrs class, of numbers, text, lists and mappings: events carry it.
    """
    diagnostic = subject.build()
    for name, view in subject.views().items():
        found = _examined(diagnostic, view())
        if not attrs.has(type(found)):
            raise CheckFailure(
                f"of {name} it returned {found!r:.150}",
                cause="a dictionary or a number where a record is wanted",
                fix="return an instance of a frozen attrs class",
            )
        try:
            plain(found)
        except TypeError as error:
            raise CheckFailure(
                f"of {name} it found something that is not plain data: {error}",
                cause="a tensor in the finding",
                fix="return numbers: tensor.item(), tensor.tolist()",
            ) from error


@check("diagnostic-no-trace", DiagnosticSpec.kind, CONTRACT)
def no_trace(subject: DiagnosticSubject) -> None:
    """Weights, buffers, gradients, hooks, modes and the random state are bit for bit those of before."""
    from esper_testing.diagnosed_networks import traces

    diagnostic = subject.build()
    for name, make in subject.views().items():
        view = make()
        before = traces(view)
        with watched() as changed:
            _examined(diagnostic, view)
        different = [part for part, value in traces(view).items() if value != before[part]]
        if different or changed:
            raise CheckFailure(
                f"of {name} it has changed {', '.join([*different, *changed])}",
                cause="a backward pass, a hook that was not removed, or a generator beside torch's",
                fix="work on copies, remove hooks in `finally`, and draw random numbers from torch alone",
            )


@check("diagnostic-deterministic", DiagnosticSpec.kind, CONTRACT, exempts={Capability.MEASURES_MACHINE})
def deterministic(subject: DiagnosticSubject) -> None:
    """The same network is found the same, by one diagnostic twice and by another that is built alike."""
    one, other = subject.build(), subject.build()
    for name, make in subject.views().items():
        found = [repr(plain(_examined(diagnostic, make()))) for diagnostic in (one, one, other)]
        if len(set(found)) > 1:
            raise CheckFailure(
                f"of {name} it found {found[0]:.100}, then {found[1]:.100}, and built alike {found[2]:.100}",
                cause="a memory of earlier epochs, the time, or a generator beside torch's",
                fix="compute what is found from the view alone",
            )


def _examined(diagnostic: Diagnostic, view: NetworkView) -> Any:
    """Ask it as a growing host does, which puts some of what it changes back."""
    from esper_testing.diagnosed_networks import asked

    return asked(diagnostic, view)


#: The checks of this module in order.
DIAGNOSTIC_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(DiagnosticSubject, DIAGNOSTIC_CHECKS)
