"""Numbers that a user's loop hands over: taken for what they are, or refused where they are given."""

from typing import Any

from esper_core.leyline.errors import EsperError


def number(argument: str, value: Any) -> float | None:
    """Return a number as a float: tensors and arrays of one element are numbers. Raises EsperError E202."""
    if value is None:
        return None
    try:
        if isinstance(value, str | bytes):
            raise TypeError("text is not a number")
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _refused(
            argument, f"expected a number, got {value!r}: {error}", "give the mean over the epoch"
        ) from error


def share(argument: str, value: Any) -> float | None:
    """Return a number from 0 to 1, or not a number where nothing was counted. Raises EsperError E202."""
    found = number(argument, value)
    if found is not None and not (0.0 <= found <= 1.0 + 1e-6 or found != found):
        raise _refused(argument, f"it is {found:g}, and accuracy is 0 to 1", "divide a percentage by 100")
    return found


def _refused(argument: str, why: str, fix: str) -> EsperError:
    return EsperError(
        "E202", f'the value of "{argument}" is not valid', where=f"epoch_end({argument}=...)", why=why, fix=fix
    )
