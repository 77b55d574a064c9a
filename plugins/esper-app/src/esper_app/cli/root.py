"""The root of the `esper` command, and how errors are shown. Its subcommands come from installed distributions."""

import gc
import os
from typing import Any

import click

from esper_app.cli import version_text
from esper_app.cli.lazy import OfferingGroup
from esper_core.leyline.errors import EsperError, ExitCode

_EPILOG = """\b
Completion:  eval "$(_ESPER_COMPLETE=bash_source esper)"   (or zsh_source)
Exit codes:  0 done, 1 failed, 2 usage, 3 another plugin set than locked,
             4 a plugin is not available, 5 data missing, 130 interrupted
"""

_TRACE = "esper_app.cli.trace"


def request_trace(ctx: click.Context) -> None:
    """Show tracebacks from here on."""
    ctx.meta[_TRACE] = True


def is_tracing(ctx: click.Context) -> bool:
    """Say whether tracebacks are wanted: ``--trace-plugins`` or ``ESPER_TRACE=1``."""
    return bool(ctx.meta.get(_TRACE)) or os.environ.get("ESPER_TRACE", "0") not in ("", "0")


def show_trace(error: BaseException) -> None:
    """Print the traceback of an error and of what caused it to stderr."""
    import traceback

    traceback.print_exception(error)


class RootGroup(OfferingGroup):
    """Shows errors in four lines."""

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
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(ExitCode.INTERRUPTED)


@click.group(cls=RootGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(message=version_text())
def cli() -> None:
    """Grow neural networks while they train."""
