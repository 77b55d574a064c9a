"""Esper: neural networks that grow while they train."""

__version__ = "0.1.0"

#: The plugin API that this core speaks, as (major, minor). Independent of the package version.
API: tuple[int, int] = (1, 0)

__all__ = ["API", "__version__"]
