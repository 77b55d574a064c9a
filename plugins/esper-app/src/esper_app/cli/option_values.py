"""Options of a component on a command line: ``--set kernel=5``."""

from collections.abc import Sequence
from typing import Any

import click


def option_values(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, Any]:
    """Return the options that texts such as ``kernel=5`` stand for; what is no TOML is a text.

    It is the callback of a click option that may be given several times.

    Raises:
        click.BadParameter: for a text without a name and a value.
    """
    import tomllib

    found: dict[str, Any] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key.isidentifier():
            raise click.BadParameter(f"{value!r} must be OPTION=VALUE, such as kernel=5")
        try:
            found[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = text
    return found
