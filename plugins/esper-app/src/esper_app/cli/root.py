"""The root of the `esper` command, and how errors are shown. Its subcommands come from installed distributions."""

import gc
import os
import sys
from contextlib import suppress
from errno import EPIPE
from typing import Any

import click

from esper_app.cli import version_text
from esper_app.cli.help_groups import NAMED_ALONE, under_headings
from esper_app.cli.lazy import OfferingGroup
from esper_app.exit_codes import short_table
from esper_core.leyline.errors import EsperError, ExitCode
from esper_runs.printing import echo

_COMPLETION = ('eval "$(_ESPER_COMPLETE=bash_source esper)"', "(or zsh_source)")

_TRACE = "esper_app.cli.trace"


def request_trace(ctx: click.Context) -> None:
    """Show tracebacks from here on."""
    ctx.meta[_TRACE] = True


def is_tracing(ctx: click.Context | None) -> bool:
    """Say whether tracebacks are wanted: ``--trace-plugins`` or ``ESPER_TRACE=1``. Without a command: the latter."""
    return bool(ctx and ctx.meta.get(_TRACE)) or os.environ.get("ESPER_TRACE", "0") not in ("", "0")


def show_trace(error: BaseException) -> None:
    """Print the traceback of an error and of what caused it to stderr."""
    import traceback

    echo("".join(traceback.format_exception(error)), err=True, nl=False)


class RootGroup(OfferingGroup):
    """Lists its commands under headings, and shows errors in four lines."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in a line, and what each command does."""
        formatter.write_paragraph()
        formatter.write_text("Options: --version, -h or --help; each command has a --help of its own.")
        formatter.write_paragraph()
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, under headings; of some the names alone."""
        names = self.list_commands(ctx)
        widest = max(map(len, names), default=0)
        for heading, found in under_headings(names):
            commands = [(name, self.get_command(ctx, name)) for name in found if name not in NAMED_ALONE]
            rows = [(name.ljust(widest), it.get_short_help_str(formatter.width)) for name, it in commands if it]
            if alone := [name for name in found if name in NAMED_ALONE]:
                rows.append(("also".ljust(widest), ", ".join(alone)))
            formatter.write_heading(heading)
            with formatter.indentation():
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write how a shell completes commands, and what exit codes mean."""
        formatter.write_paragraph()
        with formatter.indentation():
            free = formatter.width - formatter.current_indent - len("Exit codes:  ")
            on_one_line = "   ".join(_COMPLETION)
            completion = [on_one_line] if len(on_one_line) <= free else [*_COMPLETION]
            for title, lines in (("Completion:", completion), ("Exit codes:", short_table(free))):
                for first, line in zip([title, *[""] * len(lines)], lines, strict=False):
                    formatter.write(f"{'':{formatter.current_indent}}{first:13}{line}\n")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and collect garbage again for those that may live longer than a listing."""
        resolved = super().resolve_command(ctx, args)
        if resolved[0] != "plugins":
            gc.enable()
        return resolved

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and turn its errors into messages and exit codes."""
        try:
            return super().invoke(ctx)
        except EsperError as error:
            if is_tracing(ctx):
                show_trace(error)
            echo(error, err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            echo("interrupted", err=True)
            ctx.exit(ExitCode.INTERRUPTED)
        except click.UsageError as error:
            from esper_app.cli.setting_hint import as_setting

            raise as_setting(error) or error from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # whatever has no code is nobody's mistake but ours
            if isinstance(error, OSError) and error.errno == EPIPE and _nobody_reads():
                raise  # who reads the output has had enough of it, which click knows how to say
            show_trace(error)
            echo(
                "this is a fault of Esper's or of a plugin's, not of yours: please report it with these lines",
                err=True,
            )
            ctx.exit(ExitCode.INTERNAL)


def _nobody_reads() -> bool:
    """Say whether the reader of the output has gone. Pipes to other processes break too."""
    import select

    ends = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # there is no file behind it, or it was closed
            ends.register(stream.fileno(), 0)
    return bool(ends.poll(0))


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(message=version_text())
def cli() -> None:
    """Grow neural networks while they train."""
