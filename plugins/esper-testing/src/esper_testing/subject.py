"""A component under test: what every kind's subject has."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from esper_core.leyline.specs import ComponentSpec

S = TypeVar("S", bound=ComponentSpec)


@frozen(kw_only=True)
class Subject(ABC, Generic[S]):
    """What the checks of a component look at.

    Attributes:
        spec: the component.
        config: its options; default: those of its options class.
    """

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


def resolved(reference: Any) -> Any:
    """Import ``package.module:attribute``; anything else is the object itself."""
    return resolve_name(reference) if isinstance(reference, str) else reference
