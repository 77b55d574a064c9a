"""Command groups whose commands are imported when they are called, not when they are listed."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that knows its commands by name, summary and place.

    Help and completion are served from names and summaries alone.

    Args:
        lazy: ``package.module:attribute`` and summary by the command's name. A command whose module is not installed
            is left out.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places: dict[str, str] = {}
        for name, (place, summary) in lazy.items():
            if _is_installed(place.partition(":")[0]):
                self._places[name] = place
                self.add_command(click.Command(name, short_help=summary))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they were given."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Import the command that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in self._places:
            module, _, attribute = self._places[name].partition(":")
            command = getattr(import_module(module), attribute)
        return name, command, rest


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
