"""A component under test: what every kind's subject has."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any, ClassVar, Generic, TypeVar

from attrs import field, frozen

from esper_core.leyline.specs import ComponentSpec
from esper_testing.check import NotApplicable
from esper_testing.usage import Usage

S = TypeVar("S", bound=ComponentSpec)


@frozen(kw_only=True)
class Subject(ABC, Generic[S]):
    """What the checks of a component look at.

    Attributes:
        spec: the component.
        config: its options; default: those of its options class.
        uses: how often it is used where something may show after many calls only.
        shows_options: everything that an option can change shows in `fingerprint`, but for speed and memory.
    """

    uses: ClassVar[int] = 200
    shows_options: ClassVar[bool] = True

    spec: S
    config: Any = field()

    @config.default
    def _default_config(self) -> Any:
        config = resolved(self.spec.config)
        return None if config is None else config()

    @property
    def factory(self) -> Callable[..., Any]:
        """The component's factory."""
        factory: Callable[..., Any] = resolved(self.spec.factory)
        return factory

    @abstractmethod
    def build_any(self) -> None:
        """Call the factory once, on a typical place."""

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Build the component, and give what uses it once, as a run does; close it in the end.

        Raises:
            NotApplicable: if nobody knows how components of the kind are used.
        """
        raise NotApplicable(f"it is not known how a {self.spec.kind} is used")
        yield

    def fingerprint(self) -> Any:
        """Build the component, and return what it is and does: plain values and tensors, the same for the same options.

        Raises:
            NotApplicable: as `usage`.
        """
        with self.usage() as usage:
            return [usage.use() for _ in range(2)]


def resolved(reference: Any) -> Any:
    """Import ``package.module:attribute``; anything else is the object itself."""
    return resolve_name(reference) if isinstance(reference, str) else reference
