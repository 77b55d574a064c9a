"""Commands that are known by name and summary, and imported when they are called."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from esper_app.cli.offered import Offers, Path, read_offers
from esper_app.cli.summaries import Broken, split, summary
from esper_core.leyline.errors import EsperError
from esper_core.plugins.installed import Distribution, EntryPoint
from esper_runs.printing import echo

_OFFERS = "esper_app.cli.offers"


def offers(ctx: click.Context) -> Offers:
    """Return what is offered, looked for once in each call of `esper`."""
    found: Offers = ctx.meta.get(_OFFERS) or ctx.meta.setdefault(_OFFERS, read_offers())
    return found


class OfferedCommand(click.Command):
    """A command that an entry point names.

    Args:
        name: as it is written in its group.
        path: its place.
        offers: all that is offered.
        own: the distribution of its group, if the group itself has a command of the name.
    """

    def __init__(self, name: str, path: Path, offers: Offers, own: Distribution | None = None) -> None:
        super().__init__(name)
        self._path = path
        self._offers = offers
        self._entry_points: Sequence[EntryPoint] = offers.commands[path]
        self._own = own

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return its summary, or why it cannot be called."""
        try:
            self._check_place()
            return summary(self._entry_points[0])
        except Broken as broken:
            return f"(broken: {broken})"

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Import the command and go on with it. While a shell completes a line, a broken one has no options."""
        try:
            command = self.load()
        except EsperError:
            if not extra.get("resilient_parsing"):
                raise
            return super().make_context(info_name, args, parent, **extra)
        return command.make_context(info_name, args, parent, **extra)

    def load(self) -> click.Command:
        """Import it, with the commands that join it if it is a group.

        Raises:
            EsperError: E191 if it cannot be loaded, E192 if it is offered twice.
        """
        try:
            self._check_place()
            command = self._import(*split(self._entry_points[0]))
        except Broken as broken:
            raise self._failure(str(broken)) from broken
        joining = self._offers.inside(self._path)
        if not joining:
            return command
        if not isinstance(command, click.Group):
            for path in joining.values():
                text = f'warning[E191] "{".".join(path)}" cannot join "{".".join(self._path)}", which is not a group'
                echo(text, err=True)
            return command
        return self._joined(command, joining)

    def _check_place(self) -> None:
        if len(self._entry_points) > 1 or self._own is not None:
            raise Broken(f"offered by {' and by '.join(self._titles())}")
        if not self._offers.has_group(self._path):
            raise Broken(f'there is no group "{" ".join(self._path[:-1])}" to join')

    def _import(self, module: str, attribute: str) -> click.Command:
        try:
            found: Any = import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit at import is a real case
            raise self._import_failure(module, error) from error
        if not isinstance(found, click.Command):
            raise Broken(f"{module}:{attribute} is not a click command, but {type(found).__name__}")
        return found

    def _joined(self, group: click.Group, joining: dict[str, Path]) -> click.Group:
        """A copy, because the group itself outlives this call."""
        from copy import copy

        joined = copy(group)
        mine = self._entry_points[0].distribution
        joined.commands = dict(group.commands) | {
            name: OfferedCommand(name, path, self._offers, mine if name in group.commands else None)
            for name, path in joining.items()
        }
        return joined

    def _titles(self) -> list[str]:
        distributions = [entry_point.distribution for entry_point in self._entry_points]
        return [f"{it.name} {it.version}" for it in ([self._own] if self._own else []) + distributions]

    def _failure(self, why: str, **where: str | None) -> EsperError:
        titles, names = self._titles(), [entry_point.distribution.name for entry_point in self._entry_points]
        called = " ".join(("esper", *self._path))
        if len(titles) > 1:
            what = f'"{called}" is offered by {" and by ".join(titles)}'
            return EsperError("E192", what, fix=f"uninstall one, or switch one off: ESPER_NO_PLUGINS={names[-1]}")
        what = f'"{called}" of {titles[0]} cannot be loaded'
        return EsperError("E191", what, why=why, fix=f"report it to its author, or: pip uninstall {names[0]}", **where)

    def _import_failure(self, module: str, error: BaseException) -> EsperError:
        from esper_core.leyline.errors import summary as in_words
        from esper_core.plugins.quarantine import place

        return self._failure(in_words(error), where=place(error, module))


class OfferingGroup(click.Group):
    """The root: its commands are what installed distributions offer."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, sorted."""
        return sorted({*self.commands, *offers(ctx).inside(())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, unimported."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        path = offers(ctx).inside(()).get(cmd_name)
        return None if path is None else OfferedCommand(cmd_name, path, offers(ctx))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called.

        Raises:
            EsperError: E193 if there is none of the name.
        """
        if not (ctx.resilient_parsing or args[0].startswith("-") or self.get_command(ctx, args[0])):
            raise _unknown(args[0], self.list_commands(ctx), offers(ctx))
        return super().resolve_command(ctx, args)


def _unknown(name: str, known: Sequence[str], offered: Offers) -> EsperError:
    from esper_core.plugins.known import COMMAND, install_line, suggest

    install = install_line(COMMAND, name)
    why = "it is not installed" if install else "; ".join(error.what for error in offered.unreadable) or None
    inside = sorted(" ".join(path) for path in offered.commands if len(path) > 1 and path[-1] == name)
    fix = f'did you mean "{inside[0]}"?' if inside else suggest(name, known, install)
    return EsperError("E193", f'there is no command "{name}"', why=why, fix=fix)
