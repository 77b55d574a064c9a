"""The command line, from the help of its commands."""

from collections.abc import Iterator

import click
from reference_markdown import code, page

from esper_app.cli.root import cli

_WIDTH = 100


def command_pages() -> dict[str, str]:
    """Return the page with the help of every command."""
    return {"command-line.md": page("Command line", *_help(_context(cli, "esper", None)))}


def _help(context: click.Context) -> Iterator[str]:
    command = context.command
    if context.parent is not None:
        yield f"## `{context.command_path}`"
    yield code(command.get_help(context), "text")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            # A command is imported when it is called; its context belongs to what was imported.
            yield from _help(_context(found, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return command.make_context(
        name, [], parent=parent, resilient_parsing=True, terminal_width=_WIDTH, max_content_width=_WIDTH
    )
