"""What the components of a kind are checked with: the conformance suite that the kind's row names."""

from collections.abc import Callable, Iterable
from pkgutil import resolve_name
from typing import Any

from attrs import frozen

from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import ComponentSpec
from esper_testing.check import Check, NotApplicable
from esper_testing.subject import Subject


@frozen
class Conformance:
    """The conformance suite of one kind.

    Attributes:
        subject: makes what the checks look at of ``spec`` and, if it is given, ``config``.
        checks: the checks of this kind, beside those of every component.
    """

    subject: Callable[..., Subject[Any]]
    checks: tuple[Check, ...]


class PlainSubject(Subject[ComponentSpec]):
    """A component of a kind that has no suite: what its descriptor says can be checked all the same."""

    def build_any(self) -> None:
        """Say that nobody knows how."""
        raise NotApplicable(f"there is no conformance suite for the kind {self.spec.kind}")


def conformance(kind: PluginKind) -> Conformance:
    """Return the suite of a kind; one without checks where it has none."""
    if kind.suite is None:
        return Conformance(PlainSubject, ())
    suite: Conformance = resolve_name(kind.suite)
    return suite


def checks_of(kinds: Iterable[PluginKind]) -> tuple[Check, ...]:
    """Return all checks of these kinds."""
    return tuple(check for kind in kinds for check in conformance(kind).checks)
