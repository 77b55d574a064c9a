"""Components as a user gives them: by name, or as a mapping with a name and options."""

from collections.abc import Iterable, Mapping
from typing import Any

from esper_core.leyline.errors import EsperError, did_you_mean

#: Options by name, as in a section of a configuration file.
Options = Mapping[str, Any]


def named(value: Any, argument: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of a component: ``"standard"``, or ``{"name": "standard", ...}``.

    Raises:
        EsperError: E202 if it is neither.
    """
    options = {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise EsperError(
            "E202",
            f'the value of "{argument}" is not valid',
            where=f"grow({argument}=...)",
            why=f"expected a name, or a mapping with a name and options, got {value!r}",
        )
    return name, options


def refuse_unknown(argument: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise EsperError E201 for the first key that is not known."""
    known = [*known]
    for name in given:
        if name not in known:
            raise EsperError("E201", f'unknown key "{argument}.{name}"', fix=did_you_mean(name, known))
