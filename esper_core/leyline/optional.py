"""Parts of Esper that are distributions of their own, imported where they are used."""

from importlib import import_module
from typing import Any

from esper_core.leyline.errors import EsperError


def optional_part(module: str, what: str, *, where: str | None = None, otherwise: str = "") -> Any:
    """Return a module of another distribution of Esper.

    Args:
        module: its name; the distribution is called after the package.
        what: what cannot be done without it, one sentence.
        where: what asked for it.
        otherwise: how to do without it.

    Raises:
        EsperError: E190 with the line that installs it.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        distribution = package.replace("_", "-")
        why = f"{distribution}, a distribution of its own, is not installed"
        fix = f"pip install {distribution}" + (f", or {otherwise}" if otherwise else "")
        raise EsperError("E190", what, where=where, why=why, fix=fix) from error
