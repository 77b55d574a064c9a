"""What is said where somebody writes a setting as an option or argument: ``--epochs 5``, or ``epochs=5``."""

import re
from collections.abc import Iterator

import click

#: How click says that there are too many arguments.
_EXTRA = re.compile(r"unexpected extra arguments? \(([\w.-]+)=(\S+)\)")


def as_setting(error: click.UsageError) -> click.UsageError | None:
    """Return the error that names the setting that an unknown option or argument means; None where it means none.

    Only commands that take ``--set`` have settings.
    """
    command = error.ctx.command if error.ctx is not None else None
    if command is None or not any("--set" in it.opts and it.name == "sets" for it in command.params):
        return None
    if isinstance(error, click.NoSuchOption):
        return _of_option(error)
    if extra := _EXTRA.search(error.message):
        text = f"Got an unexpected argument; settings are given with --set: --set {extra[1]}={extra[2]}"
        return click.UsageError(text, ctx=error.ctx)
    return None


def _of_option(error: click.NoSuchOption) -> click.UsageError | None:
    name = error.option_name.lstrip("-").replace("-", "_")
    keys = [*_keys()]
    found = [key for key in keys if key == name] or [key for key in keys if key.rpartition(".")[2] == name]
    if not found:
        return None
    settings = " or ".join(f"--set {key}=VALUE" for key in found)
    return click.UsageError(f"No such option '{error.option_name}'; it is a setting: {settings}", ctx=error.ctx)


def _keys() -> Iterator[str]:
    """Yield the dotted keys of all settings that are no options of components."""
    # Imported here: it is needed where something is wrong.
    from attrs import fields

    from esper_app.configuration.config import RunSettings
    from esper_app.configuration.places import CORE_SECTIONS

    yield from (key.name for key in fields(RunSettings))
    for section, cls in CORE_SECTIONS.items():
        yield from (f"{section}.{key.name}" for key in fields(cls) if key.name not in ("name", "names", "options"))
