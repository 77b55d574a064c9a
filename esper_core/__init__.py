"""Esper: neural networks that grow while they train."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esper_growing import grow

__version__ = "0.1.0"

#: The plugin API that this core speaks, as (major, minor). Independent of the package version.
API: tuple[int, int] = (2, 0)

__all__ = ["API", "__version__", "grow"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Resolve ``grow``, which is a distribution of its own, on first use: ``import esper_core`` brings no torch."""
    if name == "grow":
        from esper_core.leyline.optional import optional_part

        return optional_part("esper_growing", "there is nothing to grow a network with", where="esper_core.grow").grow
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
